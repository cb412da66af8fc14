//! `/api/v1/admin/reconciliation`: money that needs a look: payments that do not fit their order,
//! transfers to confirm, orders that are not decided, refunds to settle.
//! Promises: what was settled stays in the books with who settled it.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::sales::{order_json, refund_json};
use crate::api::AppState;
use crate::api::billing::find;
use crate::api::body::JsonBody;
use crate::api::error::ApiError;
use crate::api::operator::Operator;
use crate::api::url::Path;
use crate::ledger::TopupInfo;

/// What an order needs: to be settled, as money was taken that does not fit; to be confirmed, once
/// the transfer is there; nothing but the customer's payment.
pub(in crate::api) const NEEDS: [&str; 3] = ["settlement", "confirmation", "payment"];

/// `GET /api/v1/admin/reconciliation`
pub(super) async fn list(
    _: Operator,
    State(state): State<AppState>,
) -> Result<Json<Value>, ApiError> {
    let (mismatches, waiting, refunds) = state
        .read_ledger(|ledger| {
            // Of orders that ended without money, none.
            let waiting = ledger.topups_waiting(i64::MAX)?;
            Ok((ledger.mismatches()?, waiting, ledger.refunds_pending()?))
        })
        .await?;
    let [settlement, confirmation, payment] = NEEDS;
    let mut data = Vec::new();
    for mismatch in &mismatches {
        let mut order = needing(&mismatch.topup, settlement);
        order["problem"] = json!(mismatch.why);
        order["seen_at"] = json!(mismatch.seen_ms / 1_000);
        data.push(order);
    }
    let is_new = |order: &&TopupInfo| mismatches.iter().all(|found| found.topup.id != order.id);
    let (by_hand, by_provider): (Vec<_>, Vec<_>) = waiting
        .iter()
        .filter(is_new)
        .partition(|order| state.billing.is_confirmed_by_hand(&order.provider));
    data.extend(by_hand.into_iter().map(|order| needing(order, confirmation)));
    data.extend(by_provider.into_iter().map(|order| needing(order, payment)));
    let refunds: Vec<Value> = refunds.iter().map(refund_json).collect();
    Ok(Json(json!({ "object": "list", "data": data, "refunds": refunds })))
}

/// `POST /api/v1/admin/topups/{id}/settle`: the operator says what it did about money that did not
/// fit an order.
pub(super) async fn settle(
    operator: Operator,
    State(state): State<AppState>,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let fields = body.fields();
    let note = fields.require("note", fields.string("note")?)?;
    let order = find(&state, &id).await?;
    state.ledger.settle_mismatch(order.id, note, &operator.actor).await?;
    Ok(Json(order_json(&order)))
}

fn needing(order: &TopupInfo, what: &str) -> Value {
    let mut shown = order_json(order);
    shown["needs"] = json!(what);
    shown["problem"] = Value::Null;
    shown["seen_at"] = Value::Null;
    shown
}
