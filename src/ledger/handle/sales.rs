//! Money in and money back: orders, refunds, vouchers, corrections. All of it survives a power cut
//! once it is answered.

use crate::ledger::clock::bounded_ms;
use crate::ledger::store::{self, Correction, NewBatch, NewRefund};
use crate::ledger::writer::Durability;
use crate::ledger::{
    AccountError, AccountId, Admission, Balance, BeginRefundError, BegunRefund, CheckedTopup,
    CorrectError, CreatedTopup, Credits, FinishRefundError, Ledger, MadeVouchers, NewTopup,
    NewVouchers, PaidProof, PayTopupError, PaymentEvent, RedeemError, Redeemed, RefundId,
    RefundInfo, RefundOutcome, Reply, SettleMismatchError, TopupError, TopupId, TopupInfo,
    Unavailable, VoucherBatch, VoucherCode, VoucherError, hash, keys,
};

impl Ledger {
    /// Writes an order, before its provider is asked. Once for each idempotency key of an account:
    /// repeated, it answers with the order that is there.
    pub fn create_topup(&self, new: NewTopup) -> Reply<Result<CreatedTopup, TopupError>> {
        let id = TopupId(keys::fresh_id(bounded_ms(&*self.inner.clock)));
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::create_topup(context, id, &new)
        })
    }

    /// The provider knows the order by this name, and says where or how to pay. Idempotent. What
    /// was decided about the order in the meantime stays.
    pub fn topup_started(
        &self,
        id: TopupId,
        provider_order_id: &str,
        redirect_url: Option<String>,
        instructions: Option<String>,
    ) -> Reply<Result<TopupInfo, TopupError>> {
        let order_id = provider_order_id.to_owned();
        self.submit(Durability::PowerCut, Admission::InFlight, move |context| {
            let (url, text) = (redirect_url.as_deref(), instructions.as_deref());
            store::topup_started(context, id, &order_id, url, text)
        })
    }

    /// The provider was asked, and did not say that the order is paid. One that is stays so.
    pub fn topup_checked(
        &self,
        id: TopupId,
        outcome: CheckedTopup,
    ) -> Reply<Result<TopupInfo, TopupError>> {
        self.submit(Durability::PowerCut, Admission::InFlight, move |context| {
            store::topup_checked(context, id, outcome)
        })
    }

    /// Credits an order that was paid, once: whoever says so again, or at the same time, gets the
    /// same answer. Also when it had expired or failed, and when its account is frozen or closed.
    ///
    /// What does not fit (another price, provider, order or payment) is refused; the message in
    /// `proof` is kept then too, with the refusal as its verdict.
    pub fn pay_topup(
        &self,
        id: TopupId,
        proof: PaidProof,
    ) -> Reply<Result<TopupInfo, PayTopupError>> {
        self.submit(Durability::PowerCut, Admission::InFlight, move |context| {
            store::pay_topup(context, id, &proof)
        })
    }

    /// Keeps a provider's message that credits nothing; the same message again is not kept twice.
    pub fn record_event(
        &self,
        provider: &str,
        topup: Option<TopupId>,
        event: PaymentEvent,
    ) -> Reply<Result<(), Unavailable>> {
        let provider = provider.to_owned();
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::record_event(context, &provider, topup, &event)
        })
    }

    /// Sets a payment aside that does not fit its order, for the operator to settle; the same
    /// payment again is not set aside twice.
    pub fn set_aside(
        &self,
        provider: &str,
        topup: TopupId,
        payment_id: &str,
        why: &str,
    ) -> Reply<Result<(), Unavailable>> {
        let (provider, payment_id) = (provider.to_owned(), payment_id.to_owned());
        let why = why.to_owned();
        self.submit(Durability::PowerCut, Admission::InFlight, move |context| {
            store::set_aside(context, &provider, topup, &payment_id, &why)
        })
    }

    /// The operator has dealt with the payments of an order that were set aside; `note` says how.
    pub fn settle_mismatch(
        &self,
        topup: TopupId,
        note: &str,
        actor: &str,
    ) -> Reply<Result<(), SettleMismatchError>> {
        let (note, actor) = (note.to_owned(), actor.to_owned());
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::settle_mismatch(context, topup, &note, &actor)
        })
    }

    /// Takes credits of a paid order back, before its provider is asked to pay for them; `None`:
    /// all that are not spent. Credits that nobody paid for count as spent first, then those of
    /// the oldest order. Each call is a refund of its own.
    pub fn begin_refund(
        &self,
        topup: TopupId,
        credits: Option<Credits>,
        reason: &str,
        actor: &str,
    ) -> Reply<Result<RefundInfo, BeginRefundError>> {
        let id = RefundId(keys::fresh_id(bounded_ms(&*self.inner.clock)));
        let (reason, actor) = (reason.to_owned(), actor.to_owned());
        let new = NewRefund { id, topup, credits, reason, actor };
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::begin_refund(context, &new)
        })
    }

    /// Begins a refund once for each `idempotency_key`: repeated, it answers and takes nothing.
    pub fn begin_refund_once(
        &self,
        idempotency_key: &str,
        topup: TopupId,
        credits: Option<Credits>,
        reason: &str,
        actor: &str,
    ) -> Reply<Result<BegunRefund, BeginRefundError>> {
        let id = RefundId(hash::command_id(idempotency_key));
        let (reason, actor) = (reason.to_owned(), actor.to_owned());
        let new = NewRefund { id, topup, credits, reason, actor };
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::begin_refund_once(context, &new)
        })
    }

    /// Ends a refund: the money is back, or the credits are. Idempotent.
    pub fn finish_refund(
        &self,
        id: RefundId,
        outcome: RefundOutcome,
        actor: &str,
    ) -> Reply<Result<RefundInfo, FinishRefundError>> {
        let actor = actor.to_owned();
        self.submit(Durability::PowerCut, Admission::InFlight, move |context| {
            store::finish_refund(context, id, &outcome, &actor)
        })
    }

    /// Makes a batch of vouchers. The answer is the only place its codes are ever seen.
    pub fn create_vouchers(
        &self,
        new: NewVouchers,
        actor: &str,
    ) -> Reply<Result<MadeVouchers, VoucherError>> {
        let NewVouchers { name, credits, count, expires_ms } = new;
        // One more than allowed is refused like a million more, without making them.
        let count = count.min(store::MAX_VOUCHERS + 1);
        let codes: Vec<VoucherCode> = (0..count).map(|_| VoucherCode::fresh()).collect();
        let macs = codes.iter().map(|code| self.voucher_mac(code)).collect();
        let new = NewBatch { name, credits, expires_ms, macs, actor: actor.to_owned() };
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::create_vouchers(context, &new).map(|batch| MadeVouchers { batch, codes })
        })
    }

    /// Gives a voucher's credits, once.
    pub fn redeem_voucher(
        &self,
        account: AccountId,
        code: &VoucherCode,
        actor: &str,
    ) -> Reply<Result<Redeemed, RedeemError>> {
        let (mac, actor) = (self.voucher_mac(code), actor.to_owned());
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::redeem_voucher(context, account, &mac, &actor)
        })
    }

    fn voucher_mac(&self, code: &VoucherCode) -> [u8; 32] {
        self.server_keys().voucher_mac(code.plain())
    }

    /// Makes what is left of a batch worthless. Idempotent.
    pub fn void_vouchers(
        &self,
        batch: &str,
        actor: &str,
    ) -> Reply<Result<VoucherBatch, VoucherError>> {
        let (batch, actor) = (batch.to_owned(), actor.to_owned());
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::void_vouchers(context, &batch, &actor)
        })
    }

    /// Gives credits, or takes them if negative, because something was wrong. Once for each
    /// `idempotency_key`; without one, each call is a correction of its own.
    pub fn correct(
        &self,
        account: AccountId,
        credits: i64,
        reason: &str,
        actor: &str,
        idempotency_key: Option<&str>,
    ) -> Reply<Result<Balance, CorrectError>> {
        let command = match idempotency_key {
            Some(key) => hash::command_id(key),
            None => keys::fresh_id(bounded_ms(&*self.inner.clock)),
        };
        let (reason, actor) = (reason.to_owned(), actor.to_owned());
        let correction = Correction { account, credits, reason, actor, command };
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::correct(context, &correction)
        })
    }

    /// Freezes an account: it opens no meters until it is thawed. Open ones may finish; credits
    /// come in as before. Idempotent.
    pub fn freeze_account(
        &self,
        account: AccountId,
        actor: &str,
    ) -> Reply<Result<(), AccountError>> {
        self.set_frozen(account, true, actor)
    }

    /// Ends a freeze. Idempotent.
    pub fn thaw_account(&self, account: AccountId, actor: &str) -> Reply<Result<(), AccountError>> {
        self.set_frozen(account, false, actor)
    }

    fn set_frozen(
        &self,
        account: AccountId,
        frozen: bool,
        actor: &str,
    ) -> Reply<Result<(), AccountError>> {
        let actor = actor.to_owned();
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::set_frozen(context, account, frozen, &actor)
        })
    }

    /// Gives an account another plan. Idempotent.
    pub fn set_plan(
        &self,
        account: AccountId,
        plan: &str,
        actor: &str,
    ) -> Reply<Result<(), AccountError>> {
        let (plan, actor) = (plan.to_owned(), actor.to_owned());
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::set_plan(context, account, &plan, &actor)
        })
    }
}
