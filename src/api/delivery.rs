//! What a generation hands to the handler that asked for it, and the channel between them.
//! Promises: room for one delivery. A sender that was given room has it, so what is charged can
//! always be handed over, and of a stream at most one release is charged that HTTP has not taken.
//! Never knows: JSON, the ledger, how deliveries come about.

use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::error::ApiError;
use crate::engine::TokenLogprobs;
use crate::text::{AnswerPart, AnswerPiece};

/// One message of a generation: `Admitted`, any number of `Released`, then `Ended`. `Failed` may
/// come at any place, and nothing after it.
#[derive(Debug)]
pub(super) enum Delivery {
    /// The request was accepted: everything that can be refused up front has been checked.
    Admitted(Admitted),
    /// Parts of answers that are paid for; at most one release for each choice.
    Released(Vec<Release>),
    /// The answer is complete and its meter closed.
    Ended(Box<Summary>),
    /// There is no answer, or no more of it.
    Failed(Failure),
}

/// Why there is no answer, or no more of it.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: ApiError,
    /// Of an answer of which a part was sent: what that part counts and costs.
    pub(super) usage: Option<Usage>,
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self { error, usage: None }
    }
}

/// A generation that runs.
#[derive(Clone, Debug)]
pub(super) struct Admitted {
    /// The meter's id, by which the generation can be fetched.
    pub(super) id: String,
    /// Unix seconds.
    pub(super) created: i64,
    /// Tokens of all prompts.
    pub(super) prompt_tokens: usize,
    /// Whether this is a stored answer, given again for its `Idempotency-Key`.
    pub(super) replayed: bool,
}

/// Parts of one choice, with what they were made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Release {
    pub(super) choice: usize,
    /// No two of the same kind follow each other, but for calls.
    pub(super) parts: Vec<AnswerPart>,
    /// Output tokens that these parts are charged as.
    pub(super) tokens: u32,
    /// Those of them that are reasoning.
    pub(super) reasoning_tokens: u32,
    /// One for each of the tokens, if the request asked for them.
    pub(super) logprobs: Vec<ReleasedToken>,
    /// Of the prompt's tokens from the second on, if the request asked for them; once.
    pub(super) prompt_logprobs: Option<Vec<TokenLogprobs>>,
}

/// A token, and how likely it was.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ReleasedToken {
    pub(super) id: u32,
    pub(super) logprobs: TokenLogprobs,
}

/// Why a choice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// The model ended its turn.
    EndOfTurn,
    /// One of the request's stop strings.
    StopString,
    /// The model ended its turn to have tools called.
    ToolCalls,
    /// As many tokens as asked for, or as the context holds.
    Length,
    /// The balance, or the key's limit, pays no more.
    OutOfCredits,
    /// The request itself allows no more credits.
    MaxCredits,
    /// The answer took as long as the server lets one take.
    Deadline,
}

/// The end of a choice, as far as an answer that is given again needs to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) finish: Finish,
    /// Which of the request's stop strings it was, from 0; 0 where it was none.
    pub(super) stop: usize,
}

impl Finish {
    const ALL: [Self; 7] = [
        Self::EndOfTurn,
        Self::StopString,
        Self::ToolCalls,
        Self::Length,
        Self::OutOfCredits,
        Self::MaxCredits,
        Self::Deadline,
    ];

    /// OpenAI's word.
    pub(super) fn wire(self) -> &'static str {
        match self {
            Self::EndOfTurn | Self::StopString => "stop",
            Self::ToolCalls => "tool_calls",
            Self::Length | Self::OutOfCredits | Self::MaxCredits | Self::Deadline => "length",
        }
    }

    /// The ledger's word for one choice.
    fn word(self) -> &'static str {
        match self {
            Self::EndOfTurn => "stop",
            Self::StopString => "stop_string",
            Self::ToolCalls => "tool_calls",
            Self::Length => "length",
            Self::OutOfCredits => "out_of_credits",
            Self::MaxCredits => "max_credits",
            Self::Deadline => "deadline",
        }
    }

    /// The ledger's letter for one of many choices.
    fn letter(self) -> char {
        match self {
            Self::EndOfTurn => 's',
            Self::StopString => 't',
            Self::ToolCalls => 'f',
            Self::Length => 'l',
            Self::OutOfCredits => 'c',
            Self::MaxCredits => 'm',
            Self::Deadline => 'd',
        }
    }
}

impl From<Finish> for End {
    fn from(finish: Finish) -> Self {
        Self { finish, stop: 0 }
    }
}

/// The ledger's letters for the stop strings that one of many choices may end by.
const STOP_LETTERS: [char; 4] = ['t', 'u', 'v', 'w'];

impl End {
    fn word(self) -> String {
        match self.stop {
            0 => self.finish.word().to_owned(),
            stop => format!("{}:{stop}", self.finish.word()),
        }
    }

    fn letter(self) -> char {
        match self.finish {
            Finish::StopString => STOP_LETTERS[self.stop.min(STOP_LETTERS.len() - 1)],
            finish => finish.letter(),
        }
    }

    /// How the ledger stores the ends of an answer's choices: as one word if they ended alike,
    /// else as `mixed:` and a letter for each.
    pub(super) fn store(ends: &[Self]) -> String {
        match ends {
            [first, rest @ ..] if rest.iter().all(|end| end == first) => first.word(),
            _ => {
                let letters: String = ends.iter().map(|end| end.letter()).collect();
                format!("{MIXED}{letters}")
            }
        }
    }

    /// Reads what `store` wrote of `num_choices` choices. `None`: the answer was cut short, by a
    /// disconnect or a failure, which other words say.
    pub(super) fn read(stored: &str, num_choices: usize) -> Option<Vec<Self>> {
        let find = |is: &dyn Fn(&Finish) -> bool| Finish::ALL.into_iter().find(is);
        let Some(letters) = stored.strip_prefix(MIXED) else {
            let (word, stop) = stored.split_once(':').unwrap_or((stored, "0"));
            let finish = find(&|finish| finish.word() == word)?;
            return Some(vec![Self { finish, stop: stop.parse().ok()? }; num_choices]);
        };
        let end = |letter: char| match STOP_LETTERS.iter().position(|known| *known == letter) {
            Some(stop) => Some(Self { finish: Finish::StopString, stop }),
            None => find(&|finish| finish.letter() == letter).map(Self::from),
        };
        letters.chars().map(end).collect()
    }
}

/// Starts the stored form of choices that ended differently.
const MIXED: &str = "mixed:";

/// Choices whose ends fit into what the ledger stores of a finish reason, 64 characters. Only
/// requests that may be replayed have to keep to it.
pub(super) const MAX_REPLAYED_CHOICES: usize = 64 - MIXED.len();

/// The end of an answer, and what it cost.
#[derive(Debug)]
pub(super) struct Summary {
    /// Why each choice ended.
    pub(super) finishes: Vec<Finish>,
    /// Of each choice the stop string that ended it, as far as that is known.
    pub(super) stop_strings: Vec<Option<String>>,
    pub(super) usage: Usage,
    /// Held until the answer is in HTTP's hands: dropped unconfirmed, a plain answer is reversed.
    pub(super) receipt: Receipt,
}

/// The counts and credits of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) prompt_tokens: usize,
    pub(super) cached_tokens: usize,
    pub(super) completion_tokens: u32,
    /// Those of them that are reasoning.
    pub(super) reasoning_tokens: u32,
    pub(super) credits: i64,
    pub(super) credit_multiplier: i64,
    pub(super) balance: i64,
    pub(super) credits_exhausted: bool,
}

/// Proof that an answer was taken.
#[derive(Debug)]
pub(super) struct Receipt(oneshot::Sender<()>);

impl Receipt {
    /// The receipt, and what tells its maker whether it was confirmed.
    pub(super) fn new() -> (Self, oneshot::Receiver<()>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }

    /// The answer is on its way out.
    pub(super) fn confirm(self) {
        // The maker does not wait for a stream's receipt.
        let _ = self.0.send(());
    }
}

/// The reader of deliveries hung up, or has not read for so long that it counts as gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// The generation's end of the channel.
#[derive(Debug)]
pub(super) struct Outlet {
    sender: mpsc::Sender<Delivery>,
    max_stall: Duration,
}

/// The handler's end; dropping it is hanging up.
#[derive(Debug)]
pub(super) struct Deliveries(mpsc::Receiver<Delivery>);

/// Room for one delivery.
pub(super) type Slot<'a> = mpsc::Permit<'a, Delivery>;

impl Outlet {
    /// A channel whose reader may leave a delivery unread for `max_stall`.
    pub(super) fn new(max_stall: Duration) -> (Self, Deliveries) {
        let (sender, receiver) = mpsc::channel(1);
        (Self { sender, max_stall }, Deliveries(receiver))
    }

    /// Returns when the reader has hung up.
    pub(super) async fn gone(&self) {
        self.sender.closed().await;
    }

    /// Waits until there is room, which means that the delivery before was read.
    pub(super) async fn room(&self) -> Result<Slot<'_>, Gone> {
        let room = tokio::time::timeout(self.max_stall, self.sender.reserve()).await;
        room.map_err(|_stalled| Gone)?.map_err(|_closed| Gone)
    }

    /// Waits for room and fills it.
    pub(super) async fn send(&self, delivery: Delivery) -> Result<(), Gone> {
        self.room().await?.send(delivery);
        Ok(())
    }
}

impl Deliveries {
    /// Whether the request was accepted; nothing but this comes before the HTTP status.
    pub(super) async fn admitted(&mut self) -> Result<Admitted, ApiError> {
        match self.0.recv().await {
            Some(Delivery::Admitted(admitted)) => Ok(admitted),
            Some(Delivery::Failed(failure)) => Err(failure.error),
            Some(Delivery::Released(_) | Delivery::Ended(_)) | None => Err(ApiError::Internal),
        }
    }

    /// The next delivery; `None` after the last, or if the generation broke.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Delivery>> {
        self.0.poll_recv(context)
    }

    /// Everything that follows `Admitted`, as one answer of `num_choices` choices.
    pub(super) async fn collect(mut self, num_choices: usize) -> Result<Answer, ApiError> {
        let empty = |choice| Release { choice, ..Release::default() };
        let mut choices: Vec<Release> = (0..num_choices).map(empty).collect();
        loop {
            match self.0.recv().await {
                Some(Delivery::Released(releases)) => {
                    for release in releases {
                        choices[release.choice].append(release);
                    }
                }
                Some(Delivery::Ended(summary)) => return Ok(Answer { choices, summary: *summary }),
                Some(Delivery::Failed(failure)) => return Err(failure.error),
                Some(Delivery::Admitted(_)) | None => return Err(ApiError::Internal),
            }
        }
    }
}

/// A whole answer, paid for and not sent yet.
#[derive(Debug)]
pub(super) struct Answer {
    /// By index.
    pub(super) choices: Vec<Release>,
    pub(super) summary: Summary,
}

impl Release {
    /// Adds the parts of a piece; what its tokens are is counted by the caller.
    pub(super) fn take(&mut self, piece: AnswerPiece) {
        self.reasoning_tokens += if piece.is_reasoning() { piece.ids.len() as u32 } else { 0 };
        piece.parts.into_iter().for_each(|part| self.push(part));
    }

    /// Adds a part, to the last one if it goes on.
    pub(super) fn push(&mut self, part: AnswerPart) {
        let next = match self.parts.last_mut() {
            Some(last) => last.join(part),
            None => Some(part),
        };
        self.parts.extend(next);
    }

    fn append(&mut self, next: Self) {
        next.parts.into_iter().for_each(|part| self.push(part));
        self.tokens += next.tokens;
        self.reasoning_tokens += next.reasoning_tokens;
        self.logprobs.extend(next.logprobs);
        self.prompt_logprobs = self.prompt_logprobs.take().or(next.prompt_logprobs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_stored(ends: &[End], stored: &str) {
        assert_eq!(End::store(ends), stored);
        assert_eq!(End::read(stored, ends.len()).as_deref(), Some(ends), "{stored}");
    }

    #[test]
    fn stored_ends_are_read_again() {
        use Finish::*;
        for finish in Finish::ALL {
            check_stored(&[finish.into()], finish.word());
        }
        let stopped = |stop| End { finish: StopString, stop };
        check_stored(&[Length.into(); 3], "length");
        let mixed = [EndOfTurn, StopString, ToolCalls, Length, OutOfCredits, Deadline];
        check_stored(&mixed.map(End::from), "mixed:stflcd");
        check_stored(&[stopped(63)], "stop_string:63");
        check_stored(&[stopped(2); 2], "stop_string:2");
        check_stored(&[stopped(0), stopped(3), stopped(1), EndOfTurn.into()], "mixed:twus");
        assert_eq!(End::read("disconnect", 1), None);
        assert_eq!(End::read("stop_string:x", 1), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_stalls_counts_as_gone() {
        let (outlet, mut deliveries) = Outlet::new(Duration::from_secs(30));
        assert_eq!(outlet.send(Delivery::Released(Vec::new())).await, Ok(()));
        assert_eq!(outlet.send(Delivery::Released(Vec::new())).await, Err(Gone));
        assert!(deliveries.0.recv().await.is_some());
        assert_eq!(outlet.send(Delivery::Released(Vec::new())).await, Ok(()));
        drop(deliveries);
        assert_eq!(outlet.send(Delivery::Released(Vec::new())).await, Err(Gone));
    }
}
