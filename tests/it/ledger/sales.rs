//! Sales from outside: races for one payment or voucher, bounds of arguments, lists.

use mizan::ledger::{
    AccountId, AuditFilter, BeginRefundError, CheckedTopup, Credits, NewTopup, NewVouchers,
    PaidProof, PayTopupError, PaymentEvent, RedeemError, Redeemed, RefundOutcome, RefundState,
    TopupError, TopupFilter, TopupId, TopupState, VoucherError,
};
use mizan::money::Fils;

use super::races::race;
use super::{Books, DAY_MS, MARCH};

/// The small pack of the price list.
pub(super) fn small_pack(account: AccountId) -> NewTopup {
    NewTopup {
        account,
        pack: "small".to_owned(),
        fils: Fils(2_000),
        credits: Credits(5_000),
        provider: "tap".to_owned(),
        idempotency_key: None,
        expires_after_ms: DAY_MS,
        actor: "test".to_owned(),
    }
}

pub(super) fn ordered(books: &Books, account: AccountId) -> TopupId {
    books.ledger.create_topup(small_pack(account)).wait().unwrap().topup.id
}

/// That the small pack was paid, as one of three sources learns it.
pub(super) fn proof(payment: &str, source: Option<&str>) -> PaidProof {
    PaidProof {
        provider: "tap".to_owned(),
        provider_order_id: Some(format!("order of {payment}")),
        provider_payment_id: payment.to_owned(),
        fils: Fils(2_000),
        event: source.map(|key| PaymentEvent {
            key: key.to_owned(),
            raw: b"{\"status\":\"CAPTURED\"}".to_vec(),
            verdict: "CAPTURED".to_owned(),
        }),
        actor: "payments".to_owned(),
        reason: None,
    }
}

/// The provider's callback, the customer's return and the poller, a hundred times.
#[test]
fn one_payment_told_by_three_sources_at_once_is_credited_once() {
    let books = Books::new();
    for round in 0..100 {
        let account = books.account(&format!("team {round}"), 0);
        let topup = ordered(&books, account);
        let payment = format!("chg_{round}");
        let callback = format!("callback {round}");
        let sources = [Some(callback.as_str()), None, None];
        let answers = race(3, |source| {
            books.ledger.pay_topup(topup, proof(&payment, sources[source])).wait().unwrap()
        });
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        assert_eq!(answers[0].state, TopupState::Paid);
        assert_eq!(books.balance(account), 5_000);
        assert_eq!(books.ledger.payment_events(topup).unwrap().len(), 1);
    }
    books.assert_sound();
}

/// One payment can not pay two orders, nor two payments one.
#[test]
fn racing_payments_pay_one_order_each() {
    let books = Books::new();
    let account = books.account("alice", 0);
    let topups: Vec<TopupId> = (0..20).map(|_| ordered(&books, account)).collect();
    let mut same = proof("chg_1", None);
    same.provider_order_id = None;
    let answers = race(20, |index| books.ledger.pay_topup(topups[index], same.clone()).wait());
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    let refused = |answer: &&Result<_, _>| matches!(answer, Err(PayTopupError::PaymentUsed(_)));
    assert_eq!(answers.iter().filter(refused).count(), 19);
    let other = topups[answers.iter().position(Result::is_err).unwrap()];
    let answers = race(20, |index| {
        let mut proof = proof(&format!("other_{index}"), None);
        proof.provider_order_id = None;
        books.ledger.pay_topup(other, proof).wait()
    });
    let twice = |answer: &&Result<_, _>| matches!(answer, Err(PayTopupError::PaidTwice { .. }));
    assert_eq!(answers.iter().filter(twice).count(), 19);
    assert_eq!(books.balance(account), 10_000);
    books.assert_sound();
}

#[test]
fn a_hundred_threads_redeem_one_voucher_once() {
    let books = Books::new();
    let accounts: Vec<AccountId> =
        (0..10).map(|index| books.account(&format!("team {index}"), 0)).collect();
    let (name, credits) = ("spring".to_owned(), Credits(500));
    let new = NewVouchers { name, credits, count: 1, expires_ms: None };
    let made = books.ledger.create_vouchers(new, "test").wait().unwrap();
    let answers = race(100, |index| {
        books.ledger.redeem_voucher(accounts[index % 10], &made.codes[0], "test").wait()
    });
    let redeemed = Redeemed { credits, balance: credits };
    assert_eq!(answers.iter().filter(|answer| **answer == Ok(redeemed)).count(), 1);
    let used = |answer: &&Result<_, _>| matches!(answer, Err(RedeemError::Used { .. }));
    assert_eq!(answers.iter().filter(used).count(), 99);
    let balances: i64 = accounts.iter().map(|account| books.balance(*account)).sum();
    assert_eq!(balances, 500);
    books.assert_sound();
}

/// A refund and charges race for the same credits: each is had once.
#[test]
fn refunds_and_charges_race_for_the_same_credits() {
    let books = Books::new();
    let account = books.account("alice", 0);
    let key = books.key(account, None);
    let topup = ordered(&books, account);
    books.ledger.pay_topup(topup, proof("chg_1", None)).wait().unwrap();
    let meter = super::open(&books.ledger, super::request(account, key, 1)).unwrap();
    let taken = race(50, |index| match index % 2 {
        0 => books
            .ledger
            .charge(meter, 0, vec![super::group(150)])
            .wait()
            .map_or(0, |paid| paid.credits.0),
        _ => {
            let refund = books.ledger.begin_refund(topup, Some(Credits(150)), "why", "test");
            refund.wait().map_or(0, |refund| refund.credits.0)
        }
    });
    assert_eq!(taken.iter().sum::<i64>(), 33 * 150);
    assert_eq!(books.balance(account), 50);
    books.assert_sound();
}

#[test]
fn arguments_out_of_bounds_are_refused_and_change_nothing() {
    let books = Books::new();
    let account = books.account("alice", 10);
    let topup = ordered(&books, account);
    let ledger = &books.ledger;
    let before = books.dump();
    for amount in [0, -1, i64::MIN, i64::MAX, 1_000_000_000_001] {
        let wrong = [
            NewTopup { fils: Fils(amount), ..small_pack(account) },
            NewTopup { credits: Credits(amount), ..small_pack(account) },
            NewTopup { expires_after_ms: amount, ..small_pack(account) },
        ];
        for new in wrong {
            let refused = ledger.create_topup(new).wait();
            assert!(matches!(refused, Err(TopupError::Invalid(_))), "{amount}: {refused:?}");
        }
        let refund = ledger.begin_refund(topup, Some(Credits(amount)), "why", "test").wait();
        assert!(matches!(refund, Err(BeginRefundError::Invalid(_))), "{amount}: {refund:?}");
        let (name, credits) = ("new".to_owned(), Credits(amount));
        let new = NewVouchers { name, credits, count: 1, expires_ms: None };
        let made = ledger.create_vouchers(new, "test").wait();
        assert!(matches!(made, Err(VoucherError::Invalid(_))), "{amount}: {made:?}");
    }
    for (count, expires_ms) in [(0, None), (10_001, None), (usize::MAX, None), (1, Some(MARCH))] {
        let (name, credits) = ("new".to_owned(), Credits(1));
        let new = NewVouchers { name, credits, count, expires_ms };
        let made = ledger.create_vouchers(new, "test").wait();
        assert!(matches!(made, Err(VoucherError::Invalid(_))), "{count}: {made:?}");
    }
    for provider in ["", "Tap", "house:cash", "a b", "x".repeat(33).as_str()] {
        let new = NewTopup { provider: provider.to_owned(), ..small_pack(account) };
        let refused = ledger.create_topup(new).wait();
        assert!(matches!(refused, Err(TopupError::Invalid(_))), "{provider}: {refused:?}");
    }
    for text in ["", " x", "a\nb", "x".repeat(1_000_000).as_str()] {
        let refused = ledger.pay_topup(topup, proof(text, None)).wait();
        assert!(matches!(refused, Err(PayTopupError::Invalid(_))), "{text:.20}: {refused:?}");
        let refused = ledger.topup_started(topup, text, None, None).wait();
        assert!(matches!(refused, Err(TopupError::Invalid(_))), "{text:.20}: {refused:?}");
    }
    assert_eq!(books.dump(), before);
}

/// The provider can not be asked about it, and its customer was never told where to pay.
#[test]
fn an_order_that_no_provider_knows_expires() {
    let books = Books::new();
    let account = books.account("alice", 0);
    let (cut_off, known) = (ordered(&books, account), ordered(&books, account));
    let ledger = &books.ledger;
    ledger.topup_started(known, "order", Some("https://pay".into()), None).wait().unwrap();
    let unknown = |topup| {
        let checked = ledger.topup_checked(topup, CheckedTopup::Unknown).wait().unwrap();
        (checked.state, checked.checked_ms)
    };
    assert_eq!(unknown(cut_off), (TopupState::Created, Some(MARCH)));
    let over = MARCH + DAY_MS;
    books.set_clock(over);
    assert_eq!(unknown(cut_off), (TopupState::Expired, Some(over)));
    assert_eq!(unknown(cut_off), (TopupState::Expired, Some(over)));
    // This one's customer may be paying.
    assert_eq!(unknown(known), (TopupState::Pending, Some(over)));
    let paid = ledger.pay_topup(cut_off, proof("chg_1", None)).wait().unwrap();
    assert_eq!(paid.state, TopupState::Paid);
    assert_eq!(unknown(cut_off), (TopupState::Paid, Some(over)));
    books.assert_sound();
}

#[test]
fn orders_are_listed_and_the_waiting_ones_found() {
    let books = Books::new();
    let (alice, bob) = (books.account("alice", 0), books.account("bob", 0));
    let old = ordered(&books, alice);
    let pending = ordered(&books, alice);
    books.set_clock(MARCH + DAY_MS);
    let failed = ordered(&books, bob);
    let paid = ordered(&books, bob);
    let ledger = &books.ledger;
    ledger.topup_checked(old, CheckedTopup::Expired).wait().unwrap();
    ledger.topup_started(pending, "order", None, Some("pay\nat the bank".into())).wait().unwrap();
    ledger.topup_checked(failed, CheckedTopup::Failed).wait().unwrap();
    ledger.pay_topup(paid, proof("chg_1", None)).wait().unwrap();
    let ids = |filter: TopupFilter| -> Vec<TopupId> {
        ledger.all_topups(&filter).unwrap().iter().map(|topup| topup.id).collect()
    };
    let all = TopupFilter { limit: 10, ..TopupFilter::default() };
    assert_eq!(ids(all.clone()), [paid, failed, pending, old]);
    assert_eq!(ids(TopupFilter { limit: 1, ..all.clone() }), [paid]);
    assert_eq!(ids(TopupFilter { account: Some(alice), ..all.clone() }), [pending, old]);
    assert_eq!(ids(TopupFilter { state: Some(TopupState::Failed), ..all.clone() }), [failed]);
    assert_eq!(ids(TopupFilter { provider: Some("manual".into()), ..all }), []);
    let waiting = |since_ms| -> Vec<TopupId> {
        ledger.topups_waiting(since_ms).unwrap().iter().map(|topup| topup.id).collect()
    };
    assert_eq!(waiting(0), [pending, old, failed]);
    assert_eq!(waiting(MARCH + DAY_MS), [pending, failed]);
    assert_eq!(ledger.topup_of_order("tap", "order").unwrap().unwrap().id, pending);
    assert_eq!(ledger.topup_of_order("manual", "order").unwrap(), None);
    assert_eq!(ledger.topups(bob).unwrap().len(), 2);

    let refund = ledger.begin_refund(paid, None, "asked", "operator").wait().unwrap();
    assert_eq!(ledger.refunds_pending().unwrap(), std::slice::from_ref(&refund));
    assert_eq!(refund.payment_id.as_deref(), Some("chg_1"));
    let done = RefundOutcome::Done { provider_refund_id: None };
    assert_eq!(
        ledger.finish_refund(refund.id, done, "test").wait().unwrap().state,
        RefundState::Done
    );
    assert_eq!(ledger.refunds_pending().unwrap(), []);
    assert_eq!(ledger.refunds(paid).unwrap().len(), 1);
    let audit = ledger.audit(&AuditFilter { limit: 2, ..AuditFilter::default() }).unwrap();
    assert_eq!((audit[0].action.as_str(), audit[0].actor.as_str()), ("refund.done", "test"));
    let before = AuditFilter { before: Some(audit[1].id), limit: 100, ..AuditFilter::default() };
    assert!(ledger.audit(&before).unwrap().iter().all(|e| e.id < audit[1].id));
}
