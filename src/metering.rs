//! Tokens <-> credits: the only bridge between what the engine made and what the ledger takes.
//! Promises: a meter is closed exactly once, however its request ends; tokens are asked for only
//! after their charge is committed.
//! Never knows: text, HTTP, SQL.

use crate::catalog::Tier;
use crate::ledger::{
    ChargeError, CloseError, Closed, Credits, Ledger, MeterId, MeterRequest, OpenError,
};

/// What one output token of a model costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// The tier's name in `models.toml`.
    pub tier: String,
    /// Credits for each output token; at least 1. Input is free.
    pub credits_per_token: i64,
}

impl Price {
    /// The price of a model whose tier is called `name`.
    pub fn of(name: &str, tier: &Tier) -> Self {
        Self { tier: name.to_owned(), credits_per_token: tier.credits_per_output_token }
    }
}

/// One request's open meter. Dropped without `close` or `abandon` (a panic, a runtime that ends)
/// it abandons itself.
#[derive(Debug)]
pub struct Meter {
    ledger: Ledger,
    id: MeterId,
    streamed: bool,
    tokens: u32,
    exhausted: bool,
    settled: bool,
}

/// What one `charge` paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paid {
    /// How many of the pieces, from the first, are paid for and may be sent.
    pub pieces: usize,
    /// Whether some were not: the answer ends here.
    pub exhausted: bool,
}

impl Meter {
    /// Opens a meter, or says why the request is refused. Nothing is held on the balance.
    pub async fn open(ledger: &Ledger, request: MeterRequest) -> Result<Self, OpenError> {
        let mut meter = Self {
            ledger: ledger.clone(),
            id: ledger.fresh_meter(),
            streamed: request.streamed,
            tokens: 0,
            exhausted: false,
            settled: false,
        };
        // From here on a caller that gives up waiting drops a meter, which reverses itself.
        match ledger.open_meter_as(meter.id, request).await {
            Ok(_) => Ok(meter),
            Err(refused) => {
                meter.settled = true;
                Err(refused)
            }
        }
    }

    /// The meter's name in the ledger, and the generation's on the wire.
    pub fn id(&self) -> MeterId {
        self.id
    }

    /// Output tokens charged so far, over all choices.
    pub fn tokens(&self) -> u32 {
        self.tokens
    }

    /// Whether a charge could not be paid in full.
    pub fn exhausted(&self) -> bool {
        self.exhausted
    }

    /// Charges as many of `pieces` as the caller can pay, first to last; committed on return.
    ///
    /// A piece is the ids that its text releases, which are paid together or not at all. A piece
    /// without ids (the rest of a character whose token is paid for) costs nothing.
    pub async fn charge(
        &mut self,
        choice: u32,
        pieces: impl ExactSizeIterator<Item = &[u32]> + Clone,
    ) -> Result<Paid, ChargeError> {
        let groups: Vec<Vec<u32>> =
            pieces.clone().filter(|ids| !ids.is_empty()).map(<[u32]>::to_vec).collect();
        let asked = groups.len();
        if asked == 0 {
            return Ok(Paid { pieces: pieces.len(), exhausted: false });
        }
        let groups = match self.ledger.charge(self.id, choice, groups).await {
            Ok(charged) => {
                self.tokens += charged.tokens;
                charged.groups
            }
            // Not even the first: an ending like any other shortage, not an error.
            Err(ChargeError::Insufficient { .. } | ChargeError::KeyLimit { .. }) => 0,
            Err(error) => return Err(error),
        };
        if groups == asked {
            return Ok(Paid { pieces: pieces.len(), exhausted: false });
        }
        self.exhausted = true;
        Ok(Paid { pieces: paid_prefix(pieces, groups), exhausted: true })
    }

    /// Closes the meter at what it charged. An error is the ledger's: recovery closes it then.
    pub async fn close(mut self, finish_reason: &str) -> Result<ClosedMeter, CloseError> {
        self.settled = true;
        let closed = self.ledger.close_meter(self.id, finish_reason).await?;
        Ok(ClosedMeter { ledger: self.ledger.clone(), id: self.id, closed })
    }

    /// Ends a request that has no complete answer. What was streamed stays paid for; a plain
    /// answer that nobody got, or a stream that never began, is reversed, which also frees its
    /// idempotency key for another try.
    pub async fn abandon(mut self, reason: &str) -> Result<Closed, CloseError> {
        self.settled = true;
        if self.keeps_charges() {
            self.ledger.close_meter(self.id, reason).await
        } else {
            self.ledger.reverse_meter(self.id, reason).await
        }
    }

    /// Whether abandoning the request now leaves it paid for.
    pub fn keeps_charges(&self) -> bool {
        self.streamed && self.tokens > 0
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        // The command is queued here; nobody waits for the reply.
        if self.keeps_charges() {
            drop(self.ledger.close_meter(self.id, "dropped"));
        } else {
            drop(self.ledger.reverse_meter(self.id, "dropped"));
        }
    }
}

/// A meter that charges no more.
#[derive(Debug)]
pub struct ClosedMeter {
    ledger: Ledger,
    id: MeterId,
    closed: Closed,
}

impl ClosedMeter {
    /// Credits the request cost.
    pub fn credits(&self) -> Credits {
        self.closed.credits
    }

    /// The account's balance as of the close.
    pub fn balance(&self) -> Credits {
        self.closed.balance
    }

    /// Gives everything back after all: the caller was gone before the answer could be sent.
    pub async fn reverse(self, reason: &str) -> Result<Closed, CloseError> {
        self.ledger.reverse_meter(self.id, reason).await
    }
}

/// How many pieces the first `groups` groups that have ids make up, the free ones that directly
/// follow a paid one included.
fn paid_prefix<'a>(pieces: impl Iterator<Item = &'a [u32]>, groups: usize) -> usize {
    let mut left = groups;
    let mut count = 0;
    for ids in pieces {
        if !ids.is_empty() {
            if left == 0 {
                break;
            }
            left -= 1;
        }
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;
    use crate::ledger::NewKeyRequest;

    fn check(pieces: &[&[u32]], groups: usize, expected: usize) {
        assert_eq!(paid_prefix(pieces.iter().copied(), groups), expected, "{pieces:?} {groups}");
    }

    /// A caller that is gone before the meter is open leaves none open.
    #[test]
    fn a_meter_that_nobody_waits_for_is_reversed() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("ledger.db"), Default::default()).unwrap();
        let account = ledger.create_account("alice", "default", "test").wait().unwrap();
        ledger.grant(account, Credits(10), "why", "test").wait().unwrap();
        let key = ledger.create_key(NewKeyRequest::new(account, "key"), "test").wait().unwrap().id;
        for request in 0..50 {
            let request = MeterRequest {
                account,
                key,
                model: "model".to_owned(),
                model_digest: [0; 32],
                credits_per_token: 1,
                streamed: request % 2 == 0,
                input_tokens: 1,
                idempotency_key: None,
                body_hash: [0; 32],
            };
            let opening = pin!(Meter::open(&ledger, request));
            let _ = opening.poll(&mut Context::from_waker(Waker::noop()));
        }
        ledger.purge_ids(0).wait().unwrap();
        let report = ledger.verify().unwrap();
        assert_eq!((report.meters, report.open_meters), (50, 0), "{report:?}");
    }

    #[test]
    fn free_pieces_follow_the_paid_one_before_them() {
        check(&[&[1], &[2]], 0, 0);
        check(&[&[1], &[2]], 1, 1);
        check(&[&[1], &[], &[2]], 1, 2);
        check(&[&[], &[1], &[2, 3], &[]], 0, 1);
        check(&[&[], &[1], &[2, 3], &[]], 2, 4);
    }
}
