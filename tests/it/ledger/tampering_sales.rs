//! Damage to orders, refunds, vouchers and the money is found where it is.

use mizan::ledger::{Credits, Invariant, NewVouchers, RefundOutcome};

use super::sales::{ordered, proof};
use super::{Books, strings};

/// Account 5 and its cash account 6. Transfers: 1, 2 an order's `topup` and `payment`; 3 a refund
/// that failed, 4 one that was done; 5 its `payout`, 6 the other's reversal; 7 a voucher.
fn damaged_books(sql: &str) -> Books {
    let books = Books::new();
    let account = books.account("alice", 0);
    let topup = ordered(&books, account);
    ordered(&books, account);
    books.ledger.pay_topup(topup, proof("chg_1", Some("event"))).wait().unwrap();
    let refund = |credits| {
        let refund = books.ledger.begin_refund(topup, Some(Credits(credits)), "why", "test");
        refund.wait().unwrap().id
    };
    let (failed, done) = (refund(1_000), refund(500));
    let outcome = RefundOutcome::Done { provider_refund_id: None };
    books.ledger.finish_refund(done, outcome, "test").wait().unwrap();
    let outcome = RefundOutcome::Failed { why: "no".to_owned() };
    books.ledger.finish_refund(failed, outcome, "test").wait().unwrap();
    let (name, credits) = ("spring".to_owned(), Credits(50));
    let new = NewVouchers { name, credits, count: 2, expires_ms: None };
    let made = books.ledger.create_vouchers(new, "test").wait().unwrap();
    books.ledger.redeem_voucher(account, &made.codes[0], "test").wait().unwrap();
    books.assert_sound();
    let conn = books.raw();
    for trigger in strings(&conn, "SELECT name FROM sqlite_schema WHERE type='trigger'") {
        conn.execute_batch(&format!("DROP TRIGGER {trigger}")).unwrap();
    }
    conn.pragma_update(None, "ignore_check_constraints", true).unwrap();
    conn.pragma_update(None, "foreign_keys", false).unwrap();
    conn.execute_batch(sql).unwrap();
    books
}

/// The first finding breaks `invariant`, at a place that begins with `place`.
#[track_caller]
fn check(sql: &str, invariant: Invariant, place: &str) {
    let report = damaged_books(sql).ledger.verify().unwrap();
    let Some(first) = report.findings.first() else { panic!("not found: {sql}") };
    assert_eq!(first.invariant, invariant, "{sql}\n{report:#?}");
    assert!(first.place.starts_with(place), "{sql}\n{report:#?}");
}

#[test]
fn a_changed_order() {
    let paid = |sql: &str| format!("UPDATE topup SET {sql} WHERE state='paid'");
    check(&paid("credits=credits+1"), Invariant::Sales, "top-up");
    check(&paid("fils=fils-1"), Invariant::Sales, "top-up");
    check(&paid("account_id=6"), Invariant::Sales, "top-up");
    check(&paid("provider='other'"), Invariant::Sales, "top-up");
    check(&paid("state='failed',paid_ms=NULL"), Invariant::Sales, "top-up");
    check(&paid("refunded_credits=0"), Invariant::Sales, "top-up");
    check(&paid("refunded_fils=refunded_fils+1"), Invariant::Sales, "top-up");
    check(
        "UPDATE topup SET state='paid',paid_ms=1 WHERE state='created'",
        Invariant::Sales,
        "top-up",
    );
    check("DELETE FROM topup WHERE state='paid'", Invariant::Sales, "refund");
    check(
        "DELETE FROM topup WHERE state='paid'; DELETE FROM refund",
        Invariant::Sales,
        "transfer 1",
    );
}

#[test]
fn a_changed_refund() {
    let done = |sql: &str| format!("UPDATE refund SET {sql} WHERE state='done'");
    check(&done("credits=credits+1"), Invariant::Sales, "top-up");
    check(&done("fils=fils+1"), Invariant::Sales, "top-up");
    check(&done("state='failed'"), Invariant::Sales, "top-up");
    check(&done("state='pending',ended_ms=NULL"), Invariant::Sales, "refund");
    check("UPDATE refund SET state='done' WHERE state='failed'", Invariant::Sales, "top-up");
    check("DELETE FROM refund WHERE state='failed'", Invariant::Sales, "transfer 3");
}

#[test]
fn more_refunded_than_bought() {
    check(
        "UPDATE topup SET refunded_credits=refunded_credits+4501 WHERE state='paid';
         UPDATE refund SET credits=credits+4501 WHERE state='done'",
        Invariant::Sales,
        "top-up",
    );
}

#[test]
fn a_changed_voucher() {
    let redeemed = |sql: &str| format!("UPDATE voucher SET {sql} WHERE redeemed_by IS NOT NULL");
    check(&redeemed("redeemed_by=NULL,redeemed_ms=NULL"), Invariant::Vouchers, "voucher");
    check(&redeemed("redeemed_by=6"), Invariant::Vouchers, "voucher");
    check(&redeemed("code_mac=randomblob(32)"), Invariant::Vouchers, "voucher");
    check("UPDATE voucher_batch SET credits=51", Invariant::Vouchers, "voucher");
    check("UPDATE voucher_batch SET count=3", Invariant::Vouchers, "batch \"spring\"");
    check(
        "UPDATE voucher SET redeemed_by=5,redeemed_ms=1 WHERE redeemed_by IS NULL",
        Invariant::Vouchers,
        "voucher",
    );
    check(
        "DELETE FROM voucher WHERE redeemed_by IS NOT NULL",
        Invariant::Vouchers,
        "batch \"spring\"",
    );
}

#[test]
fn money_in_another_place() {
    check("UPDATE account SET name='house:cash:tip' WHERE id=6", Invariant::Sales, "top-up");
    check("UPDATE account SET name='cash' WHERE id=6", Invariant::Sales, "top-up");
    check("UPDATE account SET name='house:cash:x' WHERE id=5", Invariant::Sales, "account 5");
    check("UPDATE account SET balance=balance-1 WHERE id=6", Invariant::Balance, "account 6");
    check("UPDATE transfer SET amount=amount+1 WHERE seq=2", Invariant::Chain, "transfer 2");
}
