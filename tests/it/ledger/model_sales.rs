//! The oracle's sales: orders, refunds, vouchers and corrections, as plain lists that are summed up
//! whenever it is asked.

use std::collections::{BTreeMap, BTreeSet};

use mizan::ledger::{
    AccountId, BeginRefundError, CorrectError, Credits, FinishRefundError, NewTopup, PaidProof,
    PayTopupError, RedeemError, Redeemed, RefundId, RefundInfo, RefundOutcome, RefundState,
    TopupError, TopupId, TopupInfo, TopupState, VoucherCode, VoucherError,
};
use mizan::money::Fils;

use super::model::Model;

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Sales {
    pub(super) topups: BTreeMap<TopupId, Topup>,
    /// The paid ones, as they were paid.
    paid: Vec<TopupId>,
    pub(super) refunds: BTreeMap<RefundId, Refund>,
    pub(super) batches: BTreeMap<String, Batch>,
    pub(super) vouchers: Vec<Voucher>,
    pub(super) events: BTreeSet<(String, String)>,
    corrections: Vec<(AccountId, i64)>,
    corrected_once: BTreeMap<String, (AccountId, i64)>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Topup {
    pub(super) new: NewTopup,
    pub(super) state: TopupState,
    pub(super) order_id: Option<String>,
    url: Option<String>,
    payment_id: Option<String>,
    checked_ms: Option<i64>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refund {
    pub(super) topup: TopupId,
    pub(super) credits: i64,
    pub(super) fils: i64,
    pub(super) state: RefundState,
    name: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Batch {
    credits: i64,
    expires_ms: Option<i64>,
    voided: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Voucher {
    pub(super) code: VoucherCode,
    batch: String,
    redeemed: Option<(AccountId, i64)>,
}

/// What is compared of an order: state, the provider's names, refunded credits and fils.
pub(super) type Order = (TopupState, Option<String>, Option<String>, Option<String>, i64, i64);

pub(super) fn order(topup: &TopupInfo) -> Order {
    (
        topup.state,
        topup.provider_order_id.clone(),
        topup.redirect_url.clone(),
        topup.provider_payment_id.clone(),
        topup.refunded_credits.0,
        topup.refunded_fils.0,
    )
}

/// What is compared of a refund: its order, credits, fils and state.
pub(super) type Back = (TopupId, i64, i64, RefundState);

pub(super) fn back(refund: &RefundInfo) -> Back {
    (refund.topup, refund.credits.0, refund.fils.0, refund.state)
}

impl Sales {
    /// What an account was given for nothing: vouchers and corrections.
    fn gifts(&self, account: AccountId) -> i64 {
        let by_account = |voucher: &&Voucher| voucher.redeemed.is_some_and(|by| by.0 == account);
        let redeemed = self.vouchers.iter().filter(by_account);
        let vouchers: i64 = redeemed.map(|voucher| self.batches[&voucher.batch].credits).sum();
        let corrected = self.corrections.iter().filter(|(whose, _)| *whose == account);
        vouchers + corrected.map(|(_, credits)| credits).sum::<i64>()
    }

    /// How many vouchers were redeemed.
    pub(super) fn redeemed(&self) -> i64 {
        let redeemed = self.vouchers.iter().filter(|voucher| voucher.redeemed.is_some());
        i64::try_from(redeemed.count()).unwrap()
    }

    /// Bought and not refunded, order by order, the oldest first.
    fn bought(&self, account: AccountId) -> Vec<(TopupId, i64)> {
        let his = |id: &&TopupId| self.topups[id].new.account == account;
        let paid = self.paid.iter().filter(his);
        paid.map(|id| (*id, self.topups[id].new.credits.0 - self.refunded(*id).0)).collect()
    }

    /// All that came in and did not go back, but for grants.
    pub(super) fn brought(&self, account: AccountId) -> i64 {
        let bought: i64 = self.bought(account).iter().map(|(_, credits)| credits).sum();
        bought + self.gifts(account)
    }

    /// Credits and fils.
    fn refunded(&self, topup: TopupId) -> (i64, i64) {
        let counts =
            |refund: &&Refund| refund.topup == topup && refund.state != RefundState::Failed;
        let refunds = || self.refunds.values().filter(counts);
        (refunds().map(|refund| refund.credits).sum(), refunds().map(|refund| refund.fils).sum())
    }

    pub(super) fn order(&self, id: TopupId) -> Order {
        let topup = &self.topups[&id];
        let (credits, fils) = self.refunded(id);
        let (order_id, url) = (topup.order_id.clone(), topup.url.clone());
        (topup.state, order_id, url, topup.payment_id.clone(), credits, fils)
    }

    fn is_taken(&self, provider: &str, order_id: &str) -> bool {
        self.topups.values().any(|topup| {
            topup.new.provider == provider && topup.order_id.as_deref() == Some(order_id)
        })
    }

    pub(super) fn started(
        &mut self,
        id: TopupId,
        order_id: &str,
        url: Option<&str>,
    ) -> Result<Order, TopupError> {
        let Some(topup) = self.topups.get(&id) else { return Err(TopupError::UnknownTopup) };
        let other = match &topup.order_id {
            Some(known) => known != order_id,
            None => self.is_taken(&topup.new.provider, order_id),
        };
        if other {
            return Err(TopupError::OtherOrder(order_id.to_owned()));
        }
        let topup = self.topups.get_mut(&id).unwrap();
        topup.order_id = Some(order_id.to_owned());
        topup.url = url.map(str::to_owned);
        if topup.state == TopupState::Created {
            topup.state = TopupState::Pending;
        }
        Ok(self.order(id))
    }

    pub(super) fn checked(&mut self, id: TopupId, state: TopupState, now_ms: i64) -> Order {
        let topup = self.topups.get_mut(&id).unwrap();
        if topup.state != TopupState::Paid {
            (topup.state, topup.checked_ms) = (state, Some(now_ms));
        }
        self.order(id)
    }

    pub(super) fn pay(
        &mut self,
        id: TopupId,
        proof: &PaidProof,
        now_ms: i64,
    ) -> Result<Order, PayTopupError> {
        if let Some(event) = &proof.event {
            self.events.insert((proof.provider.clone(), event.key.clone()));
        }
        let Some(topup) = self.topups.get(&id) else { return Err(PayTopupError::UnknownTopup) };
        let new = &topup.new;
        if new.provider != proof.provider {
            let (ordered, paid) = (new.provider.clone(), proof.provider.clone());
            return Err(PayTopupError::OtherProvider { ordered, paid });
        }
        let other = match (&topup.order_id, &proof.provider_order_id) {
            (_, None) => false,
            (Some(known), Some(paid)) => known != paid,
            (None, Some(paid)) => self.is_taken(&new.provider, paid),
        };
        if other {
            return Err(PayTopupError::OtherOrder(proof.provider_order_id.clone().unwrap()));
        }
        if new.fils != proof.fils {
            return Err(PayTopupError::WrongAmount { ordered: new.fils, paid: proof.fils });
        }
        let paid_by = |topup: &Topup| topup.payment_id.as_ref() == Some(&proof.provider_payment_id);
        if paid_by(topup) {
            return Ok(self.order(id));
        }
        if let Some(first) = topup.payment_id.clone() {
            let second = proof.provider_payment_id.clone();
            return Err(PayTopupError::PaidTwice { first, second });
        }
        let elsewhere = |(_, other): &(&TopupId, &Topup)| {
            other.new.provider == proof.provider && paid_by(other)
        };
        if let Some((other, _)) = self.topups.iter().find(elsewhere) {
            return Err(PayTopupError::PaymentUsed(*other));
        }
        let topup = self.topups.get_mut(&id).unwrap();
        topup.state = TopupState::Paid;
        topup.checked_ms = Some(now_ms);
        topup.payment_id = Some(proof.provider_payment_id.clone());
        topup.order_id = topup.order_id.take().or(proof.provider_order_id.clone());
        self.paid.push(id);
        Ok(self.order(id))
    }

    pub(super) fn finish_refund(
        &mut self,
        id: RefundId,
        outcome: &RefundOutcome,
    ) -> Result<Back, FinishRefundError> {
        let Some(refund) = self.refunds.get_mut(&id) else {
            return Err(FinishRefundError::UnknownRefund);
        };
        match (refund.state, outcome) {
            (RefundState::Pending, RefundOutcome::Done { provider_refund_id }) => {
                refund.state = RefundState::Done;
                refund.name.clone_from(provider_refund_id);
            }
            (RefundState::Pending, RefundOutcome::Failed { .. }) => {
                refund.state = RefundState::Failed;
            }
            (RefundState::Done, RefundOutcome::Done { provider_refund_id: None })
            | (RefundState::Failed, RefundOutcome::Failed { .. }) => {}
            (RefundState::Done, RefundOutcome::Done { provider_refund_id })
                if *provider_refund_id == refund.name => {}
            (state, _) => return Err(FinishRefundError::Ended(state)),
        }
        Ok((refund.topup, refund.credits, refund.fils, refund.state))
    }

    pub(super) fn create_vouchers(
        &mut self,
        name: &str,
        credits: i64,
        expires_ms: Option<i64>,
        codes: &[VoucherCode],
    ) -> Result<(), VoucherError> {
        if self.batches.contains_key(name) {
            return Err(VoucherError::NameTaken(name.to_owned()));
        }
        self.batches.insert(name.to_owned(), Batch { credits, expires_ms, voided: false });
        let batch = name.to_owned();
        let voucher = |code: &VoucherCode| Voucher {
            code: code.clone(),
            batch: batch.clone(),
            redeemed: None,
        };
        self.vouchers.extend(codes.iter().map(voucher));
        Ok(())
    }

    pub(super) fn void(&mut self, name: &str) -> Result<(), VoucherError> {
        match self.batches.get_mut(name) {
            Some(batch) => batch.voided = true,
            None => return Err(VoucherError::UnknownBatch(name.to_owned())),
        }
        Ok(())
    }
}

impl Model {
    pub(super) fn create_topup(&self, new: &NewTopup) -> Result<Option<TopupId>, TopupError> {
        let same_key = |(_, topup): &(&TopupId, &Topup)| {
            new.idempotency_key.is_some()
                && topup.new.account == new.account
                && topup.new.idempotency_key == new.idempotency_key
        };
        match self.sales.topups.iter().find(same_key) {
            Some((id, topup)) => {
                let same = topup.new.pack == new.pack && topup.new.provider == new.provider;
                if same { Ok(Some(*id)) } else { Err(TopupError::Conflict) }
            }
            None if self.accounts[&new.account].closed => {
                Err(TopupError::AccountClosed(new.account))
            }
            None => Ok(None),
        }
    }

    pub(super) fn topup_created(&mut self, id: TopupId, new: NewTopup) {
        let state = TopupState::Created;
        let (order_id, url, payment_id, checked_ms) = (None, None, None, None);
        let topup = Topup { new, state, order_id, url, payment_id, checked_ms };
        self.sales.topups.insert(id, topup);
    }

    /// Spends what was spent from lots: first what nobody paid for, then the oldest order, and so
    /// on; and says what is left of this one.
    fn left(&self, id: TopupId) -> i64 {
        let account = self.sales.topups[&id].new.account;
        let gifts = (self.accounts[&account].granted + self.sales.gifts(account)).max(0);
        let bought = self.sales.bought(account);
        let total = gifts + bought.iter().map(|(_, credits)| credits).sum::<i64>();
        let mut spent = total - self.balance(account);
        spent -= spent.min(gifts);
        for (other, credits) in bought {
            let of_this = spent.min(credits);
            if other == id {
                return credits - of_this;
            }
            spent -= of_this;
        }
        unreachable!("a paid order")
    }

    /// What beginning a refund answers; the caller then tells which id it got.
    pub(super) fn may_refund(
        &self,
        id: TopupId,
        credits: Option<i64>,
    ) -> Result<Back, BeginRefundError> {
        let Some(topup) = self.sales.topups.get(&id) else {
            return Err(BeginRefundError::UnknownTopup);
        };
        if topup.state != TopupState::Paid {
            return Err(BeginRefundError::NotPaid);
        }
        let left = self.left(id);
        let credits = credits.unwrap_or(left);
        if credits == 0 || credits > left {
            let asked = Credits(credits.max(1));
            return Err(BeginRefundError::TooMuch { asked, left: Credits(left) });
        }
        let (refunded, refunded_fils) = self.sales.refunded(id);
        let Fils(price) = topup.new.fils;
        let fils = (refunded + credits) * price / topup.new.credits.0 - refunded_fils;
        if fils <= 0 {
            return Err(BeginRefundError::WorthNothing { credits: Credits(credits) });
        }
        Ok((id, credits, fils, RefundState::Pending))
    }

    pub(super) fn refund_begun(&mut self, id: RefundId, back: Back) {
        let (topup, credits, fils, state) = back;
        self.sales.refunds.insert(id, Refund { topup, credits, fils, state, name: None });
    }

    pub(super) fn redeem(
        &mut self,
        account: AccountId,
        code: &VoucherCode,
        now_ms: i64,
    ) -> Result<Redeemed, RedeemError> {
        if self.accounts[&account].closed {
            return Err(RedeemError::AccountClosed(account));
        }
        let sales = &mut self.sales;
        let Some(voucher) = sales.vouchers.iter_mut().find(|voucher| voucher.code == *code) else {
            return Err(RedeemError::Unknown);
        };
        let batch = &sales.batches[&voucher.batch];
        if let Some((by, at_ms)) = voucher.redeemed {
            return Err(RedeemError::Used { at_ms, by_this_account: by == account });
        }
        if batch.voided {
            return Err(RedeemError::Voided);
        }
        if let Some(at_ms) = batch.expires_ms.filter(|expires_ms| *expires_ms <= now_ms) {
            return Err(RedeemError::Expired { at_ms });
        }
        voucher.redeemed = Some((account, now_ms));
        let credits = Credits(batch.credits);
        Ok(Redeemed { credits, balance: Credits(self.balance(account)) })
    }

    pub(super) fn correct(
        &mut self,
        account: AccountId,
        credits: i64,
        once: Option<&str>,
    ) -> Result<Credits, CorrectError> {
        let balance = self.balance(account);
        match once.and_then(|key| self.sales.corrected_once.get(key)) {
            Some(same) if *same == (account, credits) => return Ok(Credits(balance)),
            Some(_) => return Err(CorrectError::Conflict),
            None => {}
        }
        if credits > 0 && self.accounts[&account].closed {
            return Err(CorrectError::AccountClosed(account));
        }
        if balance + credits < 0 {
            let (asked, balance) = (Credits(-credits), Credits(balance));
            return Err(CorrectError::Insufficient { asked, balance });
        }
        self.sales.corrections.push((account, credits));
        if let Some(key) = once {
            self.sales.corrected_once.insert(key.to_owned(), (account, credits));
        }
        Ok(Credits(balance + credits))
    }
}
