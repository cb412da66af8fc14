//! `/api/v1/packs`, `/api/v1/topups`, `/api/v1/vouchers`: how an account gets credits.
//! Promises: an account sees its own orders only; providers are asked a few at a time, and about
//! the same order not more often than every few seconds.
//! Never knows: what a provider answers, how money is booked.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::AppState;
use super::auth::AccountCaller;
use super::body::JsonBody;
use super::error::ApiError;
use super::openai::idempotency_key;
use super::url::Path;
use crate::billing::{Billing, OrderRequest, Ordered};
use crate::catalog::Pack;
use crate::ledger::{TopupId, TopupInfo, TopupState, VoucherCode};
use crate::payments::{Customer, Next};

/// Whoever reloads a page does not make the provider be asked each time.
const CHECK_AGAIN_MS: i64 = 5_000;

/// A longer one is no e-mail address (RFC 5321).
pub(super) const MAX_EMAIL_BYTES: usize = 254;

/// `GET /api/v1/packs`
pub(super) async fn packs(State(state): State<AppState>) -> Json<Value> {
    let data: Vec<Value> = state.billing.packs().iter().map(pack_json).collect();
    let providers: Vec<&str> =
        state.billing.providers().iter().map(|provider| provider.name()).collect();
    Json(json!({ "object": "list", "data": data, "providers": providers }))
}

/// `POST /api/v1/topups`
pub(super) async fn order(
    caller: AccountCaller,
    State(state): State<AppState>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let fields = body.fields();
    let pack = fields.require("pack", fields.string("pack")?)?.to_owned();
    let provider = fields.string("provider")?.map(str::to_owned);
    let email = fields.string("email")?.map(str::to_owned);
    if email.as_deref().is_some_and(|email| email.len() > MAX_EMAIL_BYTES || !email.contains('@')) {
        return Err(fields.refuse("email", "'email' must be an e-mail address"));
    }
    let request = OrderRequest {
        account: caller.account,
        customer: Customer { name: Some(caller.account_name), email },
        pack,
        provider,
        idempotency_key: idempotency_key(&headers, 1)?,
        actor: caller.actor,
    };
    state.order_tries.spend(caller.account, state.clock.now_ms())?;
    let ordered = state.sell(move |billing| billing.order(request)).await??;
    Ok(Json(ordered_json(&ordered)))
}

/// `GET /api/v1/topups`
pub(super) async fn list(
    caller: AccountCaller,
    State(state): State<AppState>,
) -> Result<Json<Value>, ApiError> {
    let account = caller.account;
    let topups = state.read_ledger(move |ledger| ledger.topups(account)).await?;
    let data: Vec<Value> = topups.iter().map(topup_json).collect();
    Ok(Json(json!({ "object": "list", "data": data })))
}

/// `GET /api/v1/topups/{id}`: asks the provider if the order is not decided.
pub(super) async fn show(
    caller: AccountCaller,
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let account = caller.account;
    let topup = find(&state, &id).await?;
    if topup.account != account {
        return Err(ApiError::UnknownTopup);
    }
    let topup = checked(&state, topup).await?;
    Ok(Json(ordered_json(&state.billing.with_next(topup))))
}

/// `POST /api/v1/vouchers/redeem`
pub(super) async fn redeem(
    caller: AccountCaller,
    State(state): State<AppState>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let fields = body.fields();
    let code = fields.require("code", fields.string("code")?)?;
    let account = caller.account;
    state.voucher_tries.spend(account, state.clock.now_ms())?;
    let code: VoucherCode = code.parse().map_err(|_| ApiError::UnknownVoucher)?;
    let redeemed = state.ledger.redeem_voucher(account, &code, &caller.actor).await?;
    state.voucher_tries.give_back(account);
    let (credits, balance) = (redeemed.credits.0, redeemed.balance.0);
    Ok(Json(json!({ "credits": credits, "balance": balance })))
}

/// The order with this id, whosever it is.
pub(super) async fn find(state: &AppState, id: &str) -> Result<TopupInfo, ApiError> {
    let id: TopupId = id.parse().map_err(|_| ApiError::UnknownTopup)?;
    let found = state.read_ledger(move |ledger| ledger.topup(id)).await?;
    found.ok_or(ApiError::UnknownTopup)
}

/// The order as it stands now, as far as the provider can be asked.
pub(super) async fn checked(state: &AppState, topup: TopupInfo) -> Result<TopupInfo, ApiError> {
    let asked_ms = topup.checked_ms.unwrap_or(topup.created_ms);
    let is_fresh = state.clock.now_ms() - asked_ms < CHECK_AGAIN_MS;
    if topup.state == TopupState::Paid || is_fresh {
        return Ok(topup);
    }
    let id = topup.id;
    let clock = state.clock.clone();
    // Whoever waits for a turn behind the same question finds it answered.
    let ask = move |billing: &Billing| billing.check_again(id, clock.now_ms() - CHECK_AGAIN_MS);
    match state.sell(ask).await? {
        Ok(topup) => Ok(topup),
        Err(error) => {
            // The books know how it stood; the poller asks again.
            tracing::warn!(topup = %id, %error, "an order could not be checked");
            Ok(topup)
        }
    }
}

fn ordered_json(ordered: &Ordered) -> Value {
    let mut shown = topup_json(&ordered.topup);
    shown["next"] = match &ordered.next {
        Some(Next::Redirect(url)) => json!({ "type": "redirect", "url": url }),
        Some(Next::Instructions(text)) => json!({ "type": "instructions", "text": text }),
        None => Value::Null,
    };
    shown
}

/// An order as customers and operators see it.
pub(super) fn topup_json(topup: &TopupInfo) -> Value {
    json!({
        "id": topup.id.to_string(),
        "object": "topup",
        "status": status(topup),
        "pack": topup.pack,
        "credits": topup.credits.0,
        "price_fils": topup.fils.0,
        "price_kwd": topup.fils.to_string(),
        "provider": topup.provider,
        "refunded_credits": topup.refunded_credits.0,
        "refunded_kwd": topup.refunded_fils.to_string(),
        "created_at": topup.created_ms / 1000,
        "expires_at": topup.expires_ms / 1000,
        "paid_at": topup.paid_ms.map(|ms| ms / 1000),
    })
}

/// The state's word; a paid order also tells how much of it went back.
fn status(topup: &TopupInfo) -> &'static str {
    match topup.state {
        TopupState::Paid if topup.refunded_credits == topup.credits => "refunded",
        TopupState::Paid if topup.refunded_credits.0 > 0 => "partially_refunded",
        state => state.as_str(),
    }
}

fn pack_json(pack: &Pack) -> Value {
    json!({
        "id": pack.id,
        "credits": pack.credits,
        "price_fils": pack.price.0,
        "price_kwd": pack.price.to_string(),
        "currency": "KWD",
        "price_per_credit_kwd": per_credit(pack),
    })
}

/// What one credit of a pack costs in KWD, for people: five decimals, cut and not rounded up. A
/// credit has no price that could be stored: a third of a fil is no amount.
fn per_credit(pack: &Pack) -> String {
    let hundred_thousandths = i128::from(pack.price.0) * 100 / i128::from(pack.credits);
    let (whole, part) = (hundred_thousandths / 100_000, hundred_thousandths % 100_000);
    let text = format!("{whole}.{part:05}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Fils;

    #[test]
    fn a_credit_costs_what_the_price_list_says() {
        let check = |fils, credits, expected: &str| {
            let pack = Pack { id: "p".to_owned(), credits, price: Fils(fils) };
            assert_eq!(per_credit(&pack), expected);
        };
        check(2_000, 5_000, "0.0004");
        check(5_000, 15_000, "0.00033");
        check(1_000, 1, "1");
        check(1_500, 1, "1.5");
        check(1_000_000_000, 1, "1000000");
    }
}
