//! The simulation's sales: every command about money in and money back, fitting and not.

use mizan::ledger::{
    CheckedTopup, Credits, NewTopup, NewVouchers, PaidProof, PaymentEvent, RefundId, RefundOutcome,
    RefundState, TopupId, TopupState, VoucherCode,
};
use mizan::money::Fils;

use super::DAY_MS;
use super::model_sales::{back, order};
use super::simulation::Simulation;

/// Name, fils, credits. A credit of the second is worth less than a fil, one of the third more.
const PACKS: [(&str, i64, i64); 3] = [("small", 2_000, 50), ("odd", 7, 30), ("dear", 100, 3)];

impl Simulation {
    /// One command, which is one commit.
    pub(super) fn sale(&mut self) {
        let before = self.model.sales.clone();
        match self.random.below(40) {
            0..7 => self.create_topup(),
            7..11 => self.start_topup(),
            11..14 => self.check_topup(),
            14..22 => self.pay(),
            22 => self.record_event(),
            23..27 => self.begin_refund(),
            27..30 => self.finish_refund(),
            30..32 => self.create_vouchers(),
            32..35 => self.redeem(),
            35 => self.void(),
            36..39 => self.correct(),
            _ => self.freeze_or_thaw(),
        }
        if self.model.sales != before {
            self.compare_money();
        }
    }

    /// Each order as it stands, and the money of all of them.
    fn compare_money(&self) {
        let (mut paid, mut refunded) = (0, 0);
        for (id, topup) in &self.model.sales.topups {
            let found = self.books().ledger.topup(*id).unwrap().unwrap();
            assert_eq!(order(&found), self.model.sales.order(*id), "{id}");
            paid += if topup.state == TopupState::Paid { topup.new.fils.0 } else { 0 };
        }
        for refund in self.model.sales.refunds.values() {
            refunded += if refund.state == RefundState::Done { refund.fils } else { 0 };
        }
        let days = self.books().ledger.revenue().unwrap();
        assert_eq!(days.iter().map(|day| day.paid.0).sum::<i64>(), paid);
        assert_eq!(days.iter().map(|day| day.refunded.0).sum::<i64>(), refunded);
        let pending = self.books().ledger.refunds_pending().unwrap().len();
        let is_pending =
            |refund: &&super::model_sales::Refund| refund.state == RefundState::Pending;
        assert_eq!(pending, self.model.sales.refunds.values().filter(is_pending).count());
    }

    fn create_topup(&mut self) {
        let (pack, fils, credits) = self.random.pick(&PACKS);
        let key = format!("order {}", self.random.below(4));
        let new = NewTopup {
            account: self.some_account(),
            pack: pack.to_owned(),
            fils: Fils(fils),
            credits: Credits(credits),
            provider: self.random.pick(&["tap", "tap", "manual"]).to_owned(),
            idempotency_key: Some(key).filter(|_| self.random.below(2) == 0),
            expires_after_ms: DAY_MS,
            actor: "test".to_owned(),
        };
        let before = self.books().dump();
        let found = self.books().ledger.create_topup(new.clone()).wait();
        let expected = self.model.create_topup(&new);
        let made = found.as_ref().ok().filter(|created| created.is_new).map(|made| made.topup.id);
        let earlier = found.map(|created| (!created.is_new).then_some(created.topup.id));
        let what = format!("order {pack} for {} {:?}", new.account, new.idempotency_key);
        self.compare(what, made.is_some(), &before, earlier, expected);
        if let Some(id) = made {
            self.model.topup_created(id, new);
        }
    }

    fn some_topup(&mut self) -> Option<TopupId> {
        let ids: Vec<TopupId> = self.model.sales.topups.keys().copied().collect();
        let never = TopupId([0xff; 16]);
        match self.random.below(30) {
            0 => Some(never),
            _ => (!ids.is_empty()).then(|| self.random.pick(&ids)),
        }
    }

    /// Usually the order's own name, sometimes another's.
    fn some_order_id(&mut self, id: TopupId) -> String {
        match self.random.below(6) {
            0 => "order of somebody".to_owned(),
            _ => format!("order {id}"),
        }
    }

    fn start_topup(&mut self) {
        let Some(id) = self.some_topup() else { return };
        let order_id = self.some_order_id(id);
        let url = self.random.pick(&[Some("https://pay.example/1"), None]);
        let (before, sales) = (self.books().dump(), self.model.sales.clone());
        let started =
            self.books().ledger.topup_started(id, &order_id, url.map(str::to_owned), None);
        let found = started.wait().map(|topup| order(&topup));
        let expected = self.model.sales.started(id, &order_id, url);
        let changes = self.model.sales != sales;
        self.compare(format!("started {id} {order_id} {url:?}"), changes, &before, found, expected);
    }

    fn check_topup(&mut self) {
        let Some(id) = self.some_topup() else { return };
        if !self.model.sales.topups.contains_key(&id) {
            return;
        }
        let (checked, state) = self.random.pick(&[
            (CheckedTopup::Pending, TopupState::Pending),
            (CheckedTopup::Failed, TopupState::Failed),
            (CheckedTopup::Cancelled, TopupState::Cancelled),
            (CheckedTopup::Expired, TopupState::Expired),
        ]);
        let (before, sales) = (self.books().dump(), self.model.sales.clone());
        let found = self.books().ledger.topup_checked(id, checked).wait().map(|t| order(&t));
        let expected = Ok(self.model.sales.checked(id, state, self.now_ms));
        let changes = self.model.sales != sales;
        self.compare(format!("checked {id} {checked:?}"), changes, &before, found, expected);
    }

    fn some_event(&mut self) -> PaymentEvent {
        PaymentEvent {
            key: format!("event {}", self.random.below(20)),
            raw: b"{}".to_vec(),
            verdict: "CAPTURED".to_owned(),
        }
    }

    /// Usually fits; one in four is of another amount, provider, order or payment.
    fn pay(&mut self) {
        let Some(id) = self.some_topup() else { return };
        let topup = self.model.sales.topups.get(&id);
        let fils = topup.map_or(Fils(1), |topup| topup.new.fils);
        let provider = topup.map_or("tap".to_owned(), |topup| topup.new.provider.clone());
        let order_id = self.some_order_id(id);
        let event = self.some_event();
        let mut proof = PaidProof {
            provider,
            provider_order_id: Some(order_id).filter(|_| self.random.below(3) > 0),
            provider_payment_id: format!("payment of {id}"),
            fils,
            event: Some(event).filter(|_| self.random.below(2) == 0),
            actor: "test".to_owned(),
            reason: None,
        };
        match self.random.below(12) {
            0 => proof.fils.0 += 1,
            1 => proof.provider = "other".to_owned(),
            2 => proof.provider_payment_id = "payment of somebody".to_owned(),
            _ => {}
        }
        let (before, sales) = (self.books().dump(), self.model.sales.clone());
        let found = self.books().ledger.pay_topup(id, proof.clone()).wait();
        let expected = self.model.sales.pay(id, &proof, self.now_ms);
        let changes = self.model.sales != sales;
        let found = found.map(|topup| order(&topup));
        self.compare(format!("pay {id} {proof:?}"), changes, &before, found, expected);
    }

    fn record_event(&mut self) {
        let Some(id) = self.some_topup() else { return };
        let event = self.some_event();
        let before = self.books().dump();
        let key = ("tap".to_owned(), event.key.clone());
        let what = format!("event {} of {id}", event.key);
        let found = self.books().ledger.record_event("tap", Some(id), event).wait();
        let changes = self.model.sales.events.insert(key);
        self.compare(what, changes, &before, found, Ok(()));
    }

    fn begin_refund(&mut self) {
        let Some(id) = self.some_topup() else { return };
        let some = 1 + i64::try_from(self.random.below(20)).unwrap();
        let credits = Some(some).filter(|_| self.random.below(3) > 0);
        let before = self.books().dump();
        let found = self.books().ledger.begin_refund(id, credits.map(Credits), "why", "test");
        let found = found.wait();
        let expected = self.model.may_refund(id, credits);
        let begun = found.as_ref().ok().map(|refund| (refund.id, back(refund)));
        let found = found.map(|refund| back(&refund));
        self.compare(format!("refund {id} {credits:?}"), begun.is_some(), &before, found, expected);
        if let Some((refund, back)) = begun {
            self.model.refund_begun(refund, back);
        }
    }

    fn finish_refund(&mut self) {
        let mut ids: Vec<RefundId> = self.model.sales.refunds.keys().copied().collect();
        ids.push(RefundId([0xff; 16]));
        let id = self.random.pick(&ids);
        let name = self.random.pick(&[None, Some("re_1"), Some("re_2")]).map(str::to_owned);
        let outcome = match self.random.below(2) {
            0 => RefundOutcome::Done { provider_refund_id: name },
            _ => RefundOutcome::Failed { why: "the bank said no".to_owned() },
        };
        let (before, sales) = (self.books().dump(), self.model.sales.clone());
        let found = self.books().ledger.finish_refund(id, outcome.clone(), "test").wait();
        let expected = self.model.sales.finish_refund(id, &outcome);
        let changes = self.model.sales != sales;
        let found = found.map(|refund| back(&refund));
        self.compare(format!("finish {id} {outcome:?}"), changes, &before, found, expected);
    }

    fn create_vouchers(&mut self) {
        let name = format!("batch {}", self.random.below(6));
        let count = 1 + self.random.below(3);
        let credits = 1 + i64::try_from(self.random.below(20)).unwrap();
        let expires_ms = self.random.pick(&[None, Some(self.now_ms + DAY_MS)]);
        let new = NewVouchers { name: name.clone(), credits: Credits(credits), count, expires_ms };
        let before = self.books().dump();
        let found = self.books().ledger.create_vouchers(new, "test").wait();
        let codes = found.as_ref().map_or(Vec::new(), |made| made.codes.clone());
        let expected = self.model.sales.create_vouchers(&name, credits, expires_ms, &codes);
        assert_eq!(codes.len(), if found.is_ok() { count } else { 0 });
        let (changes, found) = (found.is_ok(), found.map(|_| ()));
        self.compare(format!("vouchers {name} {credits}"), changes, &before, found, expected);
    }

    fn redeem(&mut self) {
        let account = self.some_account();
        let known: Vec<_> = self.model.sales.vouchers.iter().map(|v| v.code.clone()).collect();
        let code = match known.is_empty() || self.random.below(8) == 0 {
            true => VoucherCode::fresh(),
            false => known[self.random.below(known.len())].clone(),
        };
        let before = self.books().dump();
        let found = self.books().ledger.redeem_voucher(account, &code, "test").wait();
        let expected = self.model.redeem(account, &code, self.now_ms);
        let changes = expected.is_ok();
        self.compare(format!("redeem {code} by {account}"), changes, &before, found, expected);
    }

    fn void(&mut self) {
        let name = format!("batch {}", self.random.below(6));
        let (before, sales) = (self.books().dump(), self.model.sales.clone());
        let found = self.books().ledger.void_vouchers(&name, "test").wait().map(|_| ());
        let expected = self.model.sales.void(&name);
        let changes = self.model.sales != sales;
        self.compare(format!("void {name}"), changes, &before, found, expected);
    }

    fn correct(&mut self) {
        let account = self.some_account();
        let credits = self.random.pick(&[1, 5, 40, -1, -7, -60]);
        let once = format!("correction {}", self.random.below(4));
        let once = Some(once.as_str()).filter(|_| self.random.below(3) == 0);
        let (before, sales) = (self.books().dump(), self.model.sales.clone());
        let found = self.books().ledger.correct(account, credits, "why", "test", once).wait();
        let expected = self.model.correct(account, credits, once);
        let changes = self.model.sales != sales;
        let what = format!("correct {account} {credits} {once:?}");
        self.compare(what, changes, &before, found, expected);
    }

    fn freeze_or_thaw(&mut self) {
        let account = self.some_account();
        let freezes = self.random.below(3) == 0;
        let before = self.books().dump();
        let found = match freezes {
            true => self.books().ledger.freeze_account(account, "test").wait(),
            false => self.books().ledger.thaw_account(account, "test").wait(),
        };
        let frozen = &mut self.model.accounts.get_mut(&account).unwrap().frozen;
        let changes = *frozen != freezes;
        *frozen = freezes;
        self.compare(format!("freeze {account} {freezes}"), changes, &before, found, Ok(()));
    }
}
