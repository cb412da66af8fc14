//! Scripts of sales: orders, refunds, vouchers, corrections; see `script.rs` for how they read.

use mizan::ledger::{
    BeginRefundError, CheckedTopup, CorrectError, Credits, NewTopup, NewVouchers, PaidProof,
    PayTopupError, PaymentEvent, RedeemError, RefundOutcome, TopupError, TopupInfo, VoucherCode,
    VoucherError,
};
use mizan::money::Fils;

use super::DAY_MS;
use super::script::{Run, check};

impl Run {
    pub(super) fn sale(&mut self, words: &[&str]) -> String {
        let number = |word: &str| word.parse::<i64>().unwrap();
        match *words {
            ["order", name, account, fils, credits] => {
                self.order(name, account, number(fils), number(credits), None)
            }
            ["order", name, account, fils, credits, "key", key] => {
                self.order(name, account, number(fils), number(credits), Some(key))
            }
            ["started", name, order_id] => {
                let url = Some("https://pay.example".to_owned());
                let ledger = &self.books().ledger;
                topup(ledger.topup_started(self.topups[name], order_id, url, None).wait())
            }
            ["checked", name, state] => {
                let state = match state {
                    "pending" => CheckedTopup::Pending,
                    "failed" => CheckedTopup::Failed,
                    "cancelled" => CheckedTopup::Cancelled,
                    _ => CheckedTopup::Expired,
                };
                topup(self.books().ledger.topup_checked(self.topups[name], state).wait())
            }
            ["pay", name, payment, fils] => self.pay(name, payment, number(fils), None, "tap"),
            ["pay", name, payment, fils, "event", event] => {
                self.pay(name, payment, number(fils), Some(event), "tap")
            }
            ["pay", name, payment, fils, "by", provider] => {
                self.pay(name, payment, number(fils), None, provider)
            }
            ["events", name] => {
                let events = self.books().ledger.payment_events(self.topups[name]).unwrap();
                let told = events.iter().map(|event| format!("{}:{}", event.key, event.verdict));
                told.collect::<Vec<_>>().join("; ")
            }
            ["refund", name, of, "all"] => self.refund(name, of, None),
            ["refund", name, of, credits] => self.refund(name, of, Some(number(credits))),
            ["refunded", name, provider_refund_id] => {
                let provider_refund_id = Some(provider_refund_id.to_owned());
                self.finish(name, RefundOutcome::Done { provider_refund_id })
            }
            ["unrefunded", name] => {
                self.finish(name, RefundOutcome::Failed { why: "no".to_owned() })
            }
            ["vouchers", name, credits, "days", days] => {
                self.vouchers(name, number(credits), Some(number(days)))
            }
            ["vouchers", name, credits] => self.vouchers(name, number(credits), None),
            ["redeem", code, account] => self.redeem(code, account),
            ["void", name] => match self.books().ledger.void_vouchers(name, "test").wait() {
                Ok(batch) => format!("ok left={}", batch.count - batch.redeemed),
                Err(error) => error.to_string(),
            },
            ["correct", account, credits] => self.correct(account, number(credits), None),
            ["correct", account, credits, "once", key] => {
                self.correct(account, number(credits), Some(key))
            }
            ["freeze", account] => {
                self.books()
                    .ledger
                    .freeze_account(self.accounts[account].0, "test")
                    .wait()
                    .unwrap();
                "ok".to_owned()
            }
            ["thaw", account] => {
                self.books().ledger.thaw_account(self.accounts[account].0, "test").wait().unwrap();
                "ok".to_owned()
            }
            ["plan", account, plan] => {
                let account = self.accounts[account].0;
                self.books().ledger.set_plan(account, plan, "test").wait().unwrap();
                self.books().ledger.account(account).unwrap().unwrap().plan
            }
            ["days", days] => {
                self.books().set_clock(super::MARCH + number(days) * DAY_MS);
                "ok".to_owned()
            }
            ["revenue"] => {
                let days = self.books().ledger.revenue().unwrap();
                let told = days.iter().map(|day| {
                    format!("{} {} {} -{}", day.day, day.orders, day.paid, day.refunded)
                });
                told.collect::<Vec<_>>().join("; ")
            }
            _ => panic!("no such verb: {words:?}"),
        }
    }

    fn order(
        &mut self,
        name: &str,
        account: &str,
        fils: i64,
        credits: i64,
        key: Option<&str>,
    ) -> String {
        let new = NewTopup {
            account: self.accounts[account].0,
            pack: format!("pack of {credits}"),
            fils: Fils(fils),
            credits: Credits(credits),
            provider: "tap".to_owned(),
            idempotency_key: key.map(str::to_owned),
            expires_after_ms: DAY_MS,
            actor: "test".to_owned(),
        };
        match self.books().ledger.create_topup(new).wait() {
            Ok(created) => {
                self.topups.insert(name.to_owned(), created.topup.id);
                let state = created.topup.state.as_str();
                if created.is_new { "ok".to_owned() } else { state.to_owned() }
            }
            Err(TopupError::Conflict) => "conflict".to_owned(),
            Err(TopupError::AccountClosed(_)) => "account_closed".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    fn pay(
        &self,
        name: &str,
        payment: &str,
        fils: i64,
        event: Option<&str>,
        provider: &str,
    ) -> String {
        let proof = PaidProof {
            provider: provider.to_owned(),
            provider_order_id: None,
            provider_payment_id: payment.to_owned(),
            fils: Fils(fils),
            event: event.map(|key| PaymentEvent {
                key: key.to_owned(),
                raw: b"{}".to_vec(),
                verdict: "captured".to_owned(),
            }),
            actor: "test".to_owned(),
            reason: None,
        };
        match self.books().ledger.pay_topup(self.topups[name], proof).wait() {
            Ok(paid) => {
                let balance = self.books().balance(paid.account);
                format!("{} balance={balance}", paid.state.as_str())
            }
            Err(PayTopupError::WrongAmount { .. }) => "wrong_amount".to_owned(),
            Err(PayTopupError::OtherProvider { .. }) => "other_provider".to_owned(),
            Err(PayTopupError::PaidTwice { .. }) => "paid_twice".to_owned(),
            Err(PayTopupError::PaymentUsed(_)) => "payment_used".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    fn refund(&mut self, name: &str, of: &str, credits: Option<i64>) -> String {
        let (topup, credits) = (self.topups[of], credits.map(Credits));
        match self.books().ledger.begin_refund(topup, credits, "asked", "test").wait() {
            Ok(refund) => {
                self.refunds.insert(name.to_owned(), refund.id);
                format!("{} {} credits {} KWD", refund.state.as_str(), refund.credits, refund.fils)
            }
            Err(BeginRefundError::TooMuch { left, .. }) => format!("too_much left={left}"),
            Err(error) => error.to_string(),
        }
    }

    fn finish(&self, name: &str, outcome: RefundOutcome) -> String {
        match self.books().ledger.finish_refund(self.refunds[name], outcome, "test").wait() {
            Ok(refund) => refund.state.as_str().to_owned(),
            Err(error) => error.to_string(),
        }
    }

    /// A batch of two, whose codes are called `NAME1` and `NAME2`.
    fn vouchers(&mut self, name: &str, credits: i64, days: Option<i64>) -> String {
        let expires_ms = days.map(|days| super::MARCH + days * DAY_MS);
        let new =
            NewVouchers { name: name.to_owned(), credits: Credits(credits), count: 2, expires_ms };
        match self.books().ledger.create_vouchers(new, "test").wait() {
            Ok(made) => {
                for (number, code) in (1..).zip(made.codes) {
                    self.codes.insert(format!("{name}{number}"), code);
                }
                "ok".to_owned()
            }
            Err(VoucherError::NameTaken(_)) => "name_taken".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    fn redeem(&self, code: &str, account: &str) -> String {
        let code = self.codes.get(code).cloned().unwrap_or_else(VoucherCode::fresh);
        let account = self.accounts[account].0;
        match self.books().ledger.redeem_voucher(account, &code, "test").wait() {
            Ok(redeemed) => format!("ok balance={}", redeemed.balance),
            Err(RedeemError::Unknown) => "unknown".to_owned(),
            Err(RedeemError::Used { by_this_account: true, .. }) => "used by you".to_owned(),
            Err(RedeemError::Used { .. }) => "used".to_owned(),
            Err(RedeemError::Expired { .. }) => "expired".to_owned(),
            Err(RedeemError::Voided) => "voided".to_owned(),
            Err(RedeemError::AccountClosed(_)) => "account_closed".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    fn correct(&self, account: &str, credits: i64, once: Option<&str>) -> String {
        let account = self.accounts[account].0;
        match self.books().ledger.correct(account, credits, "why", "test", once).wait() {
            Ok(balance) => format!("ok balance={balance}"),
            Err(CorrectError::Conflict) => "conflict".to_owned(),
            Err(CorrectError::AccountClosed(_)) => "account_closed".to_owned(),
            Err(CorrectError::Insufficient { balance, .. }) => {
                format!("insufficient balance={balance}")
            }
            Err(error) => error.to_string(),
        }
    }
}

fn topup<E: std::fmt::Display>(answer: Result<TopupInfo, E>) -> String {
    answer.map_or_else(|error| error.to_string(), |topup| topup.state.as_str().to_owned())
}

#[test]
fn a_pack_is_credited_once_whoever_says_so() {
    check(
        "account alice                        -> ok
         order   t alice 2000 5000 key k      -> ok
         !order  t alice 2000 5000 key k      -> created
         !order  u alice 5000 15000 key k     -> conflict
         started t chg_1                      -> pending
         !started t chg_1                     -> pending
         !started t chg_2                     -> the provider's order \"chg_2\" is another one: \
                                                 see both at the provider
         pay     t chg_1 2000 event e1        -> paid balance=5000
         !pay    t chg_1 2000 event e1        -> paid balance=5000
         !pay    t chg_1 2000                 -> paid balance=5000
         pay     t chg_1 2000 event e2        -> paid balance=5000
         !checked t failed                    -> paid
         !order  t alice 2000 5000 key k      -> paid
         events  t                            -> e1:captured; e2:captured
         revenue                              -> 2026-03-01 1 2.000 -0.000",
    );
}

#[test]
fn money_that_comes_late_is_credited() {
    check(
        "account alice              -> ok
         order   t alice 2000 5000  -> ok
         order   u alice 2000 5000  -> ok
         order   v alice 2000 5000  -> ok
         checked t expired          -> expired
         checked u failed           -> failed
         checked v cancelled        -> cancelled
         end     alice              -> ok
         !order  w alice 2000 5000  -> account_closed
         freeze  alice              -> ok
         pay     t p1 2000          -> paid balance=5000
         pay     u p2 2000          -> paid balance=10000
         pay     v p3 2000          -> paid balance=15000",
    );
}

#[test]
fn a_payment_that_does_not_fit_credits_nothing_and_is_kept() {
    check(
        "account alice                   -> ok
         order   t alice 2000 5000       -> ok
         order   u alice 2000 5000       -> ok
         !pay    t p1 2001               -> wrong_amount
         !pay    t p1 200                -> wrong_amount
         !pay    t p1 2000 by other      -> other_provider
         pay     t p1 1999 event short   -> wrong_amount
         !pay    t p1 1999 event short   -> wrong_amount
         events  t                       -> short:the order costs 2.000 KWD and 1.999 KWD were \
                                            paid: refund it at the provider
         pay     t p1 2000               -> paid balance=5000
         !pay    t p2 2000               -> paid_twice
         !pay    u p1 2000               -> payment_used
         show    alice                   -> balance=5000 journal=5000 open=0",
    );
}

#[test]
fn refunds_take_unspent_credits_and_sum_to_the_price() {
    check(
        "account alice               -> ok
         order   t alice 2000 3000   -> ok
         !refund r t all             -> the top-up is not paid: there is nothing to refund
         pay     t p1 2000           -> paid balance=3000
         !refund r t 1               -> 1 credits of the top-up are worth less than 0.001 KWD: \
                                        refund more
         refund  r t 1001            -> pending 1001 credits 0.667 KWD
         refund  s t 1000            -> pending 1000 credits 0.667 KWD
         !refund q t 1000            -> too_much left=999
         refund  q t all             -> pending 999 credits 0.666 KWD
         !refund x t all             -> too_much left=0
         refunded r re_1             -> done
         !refunded r re_1            -> done
         !refunded r re_2            -> the refund has ended before, as done
         !unrefunded r               -> the refund has ended before, as done
         unrefunded s                -> failed
         !unrefunded s               -> failed
         !refunded s re_1            -> the refund has ended before, as failed
         show    alice               -> balance=1000 journal=1000 open=0
         days    1                   -> ok
         refunded q re_3             -> done
         revenue                     -> 2026-03-02 0 0.000 -0.666; 2026-03-01 1 2.000 -0.667
         refund  s t all             -> pending 1000 credits 0.667 KWD",
    );
}

/// Gifts count as spent first, then the oldest pack.
#[test]
fn only_bought_credits_that_are_left_are_refunded() {
    check(
        "account alice               -> ok
         grant   alice 100           -> ok balance=100
         order   t alice 1000 1000   -> ok
         order   u alice 1000 1000   -> ok
         pay     t p1 1000           -> paid balance=1100
         pay     u p2 1000           -> paid balance=2100
         open    m alice 1           -> ok
         charge  m 90                -> ok balance=2010
         !refund x t 1001            -> too_much left=1000
         charge  m 60                -> ok balance=1950
         !refund x t 1000            -> too_much left=950
         refund  r u all             -> pending 1000 credits 1.000 KWD
         refund  s t all             -> pending 950 credits 0.950 KWD
         show    alice               -> balance=0 journal=150 open=150
         unrefunded r                -> failed
         show    alice               -> balance=1000 journal=1150 open=150
         !refund x t all             -> too_much left=0",
    );
}

#[test]
fn a_voucher_is_redeemed_once() {
    check(
        "account  alice             -> ok
         account  bob               -> ok
         account  carol             -> ok
         end      carol             -> ok
         vouchers spring 500        -> ok
         !vouchers spring 500       -> name_taken
         vouchers week 70 days 7    -> ok
         redeem   spring1 alice     -> ok balance=500
         !redeem  spring1 alice     -> used by you
         !redeem  spring1 bob       -> used
         !redeem  nothing bob       -> unknown
         !redeem  spring2 carol     -> account_closed
         redeem   week1 bob         -> ok balance=70
         days     7                 -> ok
         !redeem  week2 bob         -> expired
         void     spring            -> ok left=1
         !void    spring            -> ok left=1
         !void    autumn            -> there is no batch named \"autumn\"
         !redeem  spring2 bob       -> voided
         !redeem  spring1 bob       -> used",
    );
}

#[test]
fn a_correction_goes_both_ways_and_never_below_zero() {
    check(
        "account  alice             -> ok
         correct  alice 50          -> ok balance=50
         !correct alice -51         -> insufficient balance=50
         correct  alice -20 once k  -> ok balance=30
         !correct alice -20 once k  -> ok balance=30
         !correct alice 20 once k   -> conflict
         !correct alice 0           -> credits is 0: give a positive number to add credits, a \
                                       negative one to take them
         open     m alice 1         -> ok
         charge   m 25              -> ok balance=5
         !correct alice -6          -> insufficient balance=5
         correct  alice -5          -> ok balance=0
         end      alice             -> ok
         !correct alice 1           -> account_closed",
    );
}

#[test]
fn a_frozen_account_opens_nothing_and_takes_credits() {
    check(
        "account  alice             -> ok
         grant    alice 10          -> ok balance=10
         open     m alice 1         -> ok
         freeze   alice             -> ok
         !freeze  alice             -> ok
         !open    n alice 1         -> account_frozen
         charge   m 3               -> ok balance=7
         close    m                 -> ok used=3
         grant    alice 5           -> ok balance=12
         vouchers v 5               -> ok
         redeem   v1 alice          -> ok balance=17
         thaw     alice             -> ok
         !thaw    alice             -> ok
         open     n alice 1         -> ok
         plan     alice gold        -> gold
         !plan    alice gold        -> gold",
    );
}
