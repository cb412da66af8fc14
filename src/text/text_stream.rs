//! Text as it is generated: what may go out, and which tokens that releases.
//!
//! Promises: each piece is as small as it can be, and the pieces joined are the text, up to the
//! first stop string; a token is released once, with the first of its bytes that goes out, and
//! never if none does (control tokens, what a stop string cuts off); constant time a byte,
//! amortized.
//! Never knows: credits, HTTP, why a sequence ends.
//!
//! Bytes wait for two reasons: they may be the start of a stop string, or of a UTF-8 character.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Tokenizer;

/// Text that goes out together, and the ids it releases, which are charged before it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Piece {
    /// What the caller gets. Never empty.
    pub text: String,
    /// In the order they were pushed. Empty where the text is the rest of a token that an earlier
    /// piece released.
    pub ids: Vec<u32>,
}

/// Whether more tokens can be pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamState {
    /// More may come.
    Open,
    /// A stop string was found: later tokens are dropped.
    Stopped,
}

/// The text of one choice.
#[derive(Debug)]
pub struct TextStream {
    tokenizer: Arc<Tokenizer>,
    stops: Vec<StopMatcher>,
    /// Bytes that have not gone out: those from `gone` on. The others are dropped now and then.
    bytes: Vec<u8>,
    gone: usize,
    /// Bytes dropped from the front of `bytes` so far.
    dropped: usize,
    /// Tokens not released, and where in the whole text they begin (the rest of a released token
    /// may come before the first).
    waiting: VecDeque<(u32, usize)>,
    /// Where in the whole text the token that was pushed last begins.
    last: usize,
    state: StreamState,
}

impl TextStream {
    /// A stream that ends before the first of `stop` (empty strings are ignored). Where several
    /// could match, the one that is complete first does; of those, the longest. A space that the
    /// first token begins with is text: an answer follows the prompt.
    pub fn new(tokenizer: Arc<Tokenizer>, stop: Vec<String>) -> Self {
        let stops = stop.into_iter().filter(|stop| !stop.is_empty()).map(StopMatcher::new);
        Self {
            tokenizer,
            stops: stops.collect(),
            bytes: Vec::new(),
            gone: 0,
            dropped: 0,
            waiting: VecDeque::new(),
            last: 0,
            state: StreamState::Open,
        }
    }

    /// Takes the next token and appends the pieces that may go out now.
    pub fn push(&mut self, id: u32, out: &mut Vec<Piece>) -> StreamState {
        if self.state == StreamState::Stopped || self.tokenizer.is_control(id) {
            return self.state;
        }
        let tokenizer = self.tokenizer.clone(); // lends the bytes while `self` changes
        let bytes = tokenizer.token_bytes(id);
        if bytes.is_empty() {
            return self.state; // nothing to release it with
        }
        self.last = self.dropped + self.bytes.len();
        self.waiting.push_back((id, self.last));
        for &byte in bytes {
            self.bytes.push(byte);
            if let Some(len) = self.complete_stop(byte) {
                self.state = StreamState::Stopped;
                self.release(self.bytes.len() - len, out);
                self.bytes.truncate(self.gone);
                self.waiting.clear();
                return self.state;
            }
        }
        let maybe_stop = self.stops.iter().map(|stop| stop.matched).max().unwrap_or(0);
        let end = self.bytes.len() - maybe_stop;
        self.release(end - incomplete_suffix(&self.bytes[self.gone..end]), out);
        self.state
    }

    /// The stop string that ended the text.
    pub fn stop_string(&self) -> Option<&str> {
        let complete = self.stops.iter().filter(|stop| stop.matched == stop.pattern.len());
        let longest = complete.max_by_key(|stop| stop.pattern.len())?;
        Some(std::str::from_utf8(&longest.pattern).expect("it was made of a string"))
    }

    /// Gives out what was held, when the sequence has ended otherwise than by a stop string.
    /// A character that is still incomplete becomes U+FFFD.
    pub fn finish(&mut self, out: &mut Vec<Piece>) {
        self.release(self.bytes.len(), out);
        self.stops.iter_mut().for_each(|stop| stop.matched = 0);
    }

    /// Gives out what was held, when the tokens so far are those that were released before `stop`
    /// ended the text: as much as can be of what the last of them ends with is that string's
    /// beginning, and no text. (Less than that, if a stop string goes on in itself, is told apart
    /// by tokens only that were not released.)
    pub fn finish_before(&mut self, stop: &str, out: &mut Vec<Piece>) {
        let held = &self.bytes[self.gone..];
        // Its first byte is text, or it would not have been released.
        let least = (self.last + 1).saturating_sub(self.dropped + self.gone);
        let begins = |at: &usize| stop.as_bytes().starts_with(&held[*at..]);
        let end = (least..held.len()).find(begins).unwrap_or(held.len());
        self.release(self.gone + end, out);
        self.bytes.truncate(self.gone);
    }

    /// Whether a token was pushed that no piece has released yet.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Feeds a byte to all matchers; the length of the longest stop string that it completes.
    fn complete_stop(&mut self, byte: u8) -> Option<usize> {
        let done = |stop: &mut StopMatcher| stop.push(byte).then_some(stop.pattern.len());
        self.stops.iter_mut().filter_map(done).max()
    }

    /// Gives out the bytes up to `end`. A new piece begins with each character that releases a
    /// token, so that a caller who can pay for some of the tokens gets the text of those.
    fn release(&mut self, end: usize, out: &mut Vec<Piece>) {
        let mut piece = Piece::default();
        let mut offset = self.dropped + self.gone;
        for chunk in self.bytes[self.gone..end].utf8_chunks() {
            let valid = chunk.valid().chars().map(|character| (character, character.len_utf8()));
            let invalid = (char::REPLACEMENT_CHARACTER, chunk.invalid().len());
            for (character, len) in valid.chain(Some(invalid).filter(|&(_, len)| len > 0)) {
                offset += len;
                if self.waiting.front().is_some_and(|&(_, start)| start < offset) {
                    push_piece(std::mem::take(&mut piece), out);
                }
                while let Some(&(id, _)) = self.waiting.front().filter(|(_, s)| *s < offset) {
                    piece.ids.push(id);
                    self.waiting.pop_front();
                }
                piece.text.push(character);
            }
        }
        push_piece(piece, out);
        self.gone = end;
        if self.gone > self.bytes.len() / 2 {
            self.bytes.drain(..self.gone);
            self.dropped += self.gone;
            self.gone = 0;
        }
    }
}

fn push_piece(piece: Piece, out: &mut Vec<Piece>) {
    if !piece.text.is_empty() {
        out.push(piece);
    }
}

/// How many bytes at the end begin a UTF-8 character that more bytes could complete: 0 to 3.
fn incomplete_suffix(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    let Some(lead) = tail.iter().rposition(|byte| byte & 0xC0 != 0x80) else { return 0 };
    match std::str::from_utf8(&tail[lead..]) {
        Err(error) if error.error_len().is_none() => tail.len() - lead,
        _ => 0,
    }
}

/// Finds a stop string in a stream of bytes (Knuth, Morris, Pratt), and knows at any time how many
/// bytes at the end of the stream may still become it.
#[derive(Debug)]
struct StopMatcher {
    pattern: Vec<u8>,
    /// For each number of matched bytes, the longest shorter match that ends at the same byte.
    fallback: Vec<usize>,
    matched: usize,
}

impl StopMatcher {
    /// `pattern` is not empty.
    fn new(pattern: String) -> Self {
        let pattern = pattern.into_bytes();
        let mut fallback = vec![0; pattern.len() + 1];
        let mut matched = 0;
        for end in 1..pattern.len() {
            while matched > 0 && pattern[matched] != pattern[end] {
                matched = fallback[matched];
            }
            matched += usize::from(pattern[matched] == pattern[end]);
            fallback[end + 1] = matched;
        }
        Self { pattern, fallback, matched: 0 }
    }

    /// Whether `byte` completes the pattern.
    fn push(&mut self, byte: u8) -> bool {
        while self.matched > 0 && self.pattern[self.matched] != byte {
            self.matched = self.fallback[self.matched];
        }
        self.matched += usize::from(self.pattern[self.matched] == byte);
        self.matched == self.pattern.len() // then the stream stops: `matched` is not used again
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{TokenType, Vocabulary};

    /// Ids 0..256 are the bytes; `texts` follow, then the control token `<end>`.
    fn stream(texts: &[&str], stop: &[&str]) -> (TextStream, u32) {
        let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
        let texts = texts.iter().copied().chain(["<end>"]).map(str::to_owned);
        let tokens: Vec<String> = bytes.chain(texts).collect();
        let mut token_types = vec![TokenType::Byte; 256];
        token_types.resize(tokens.len() - 1, TokenType::Normal);
        token_types.push(TokenType::Control);
        let vocabulary = Vocabulary {
            model: "llama".into(),
            scores: vec![0.0; tokens.len()],
            tokens,
            token_types,
            ..Vocabulary::default()
        };
        let end = vocabulary.tokens.len() as u32 - 1;
        let tokenizer = Arc::new(Tokenizer::from_vocabulary(vocabulary).unwrap());
        (TextStream::new(tokenizer, stop.iter().map(|&stop| stop.to_owned()).collect()), end)
    }

    /// Pushes all of `texts` in order; expects pieces written `text:ids`, ids counted from 0, with
    /// `|` after the pieces of each push that gave any, `$` before those of `finish`.
    fn check(texts: &[&str], stop: &[&str], expected: &str) {
        let (mut stream, _) = stream(texts, stop);
        let mut found = String::new();
        let write = |pieces: &mut Vec<Piece>, found: &mut String| {
            for piece in pieces.drain(..) {
                let ids: Vec<String> = piece.ids.iter().map(|id| (id - 256).to_string()).collect();
                *found += &format!("{}:{} ", piece.text, ids.join(","));
            }
        };
        let mut pieces = Vec::new();
        let mut state = StreamState::Open;
        assert_eq!(stream.stop_string(), None);
        for id in (256..).take(texts.len()) {
            state = stream.push(id, &mut pieces);
            if !pieces.is_empty() {
                write(&mut pieces, &mut found);
                found += "| ";
            }
        }
        if state == StreamState::Open {
            found += "$ ";
            stream.finish(&mut pieces);
            write(&mut pieces, &mut found);
        }
        assert_eq!(found.trim_end(), expected, "{texts:?} stop {stop:?}");
    }

    #[test]
    fn each_token_goes_out_at_once_without_stops() {
        check(&["Hello", ",", " world"], &[], "Hello:0 | ,:1 |  world:2 | $");
    }

    #[test]
    fn a_stop_string_across_three_tokens_cuts_and_drops() {
        check(&["ab", "cST", "O", "P!", "x"], &["STOP"], "ab:0 | c:1 |");
        check(&["a", "ST", "OP", "x"], &["STOP"], "a:0 |");
        check(&["a STOP b"], &["STOP"], "a :0 |");
        check(&["STOP"], &["STOP"], "");
    }

    #[test]
    fn a_prefix_that_is_none_goes_out_token_by_token() {
        check(&["xS", "T", "O", "Q"], &["STOP"], "x:0 | S: T:1 O:2 Q:3 | $");
        check(&["S", "T"], &["STOP"], "$ S:0 T:1");
        check(&["a", "aab"], &["aab"], "a:0 |");
        check(&["SS", "S", "TOP"], &["STOP"], "S:0 | S: |");
    }

    #[test]
    fn the_stop_that_is_complete_first_wins() {
        check(&["abc"], &["abc", "b"], "a:0 |");
        check(&["xabc"], &["bc", "abc"], "x:0 |");
        check(&["ab", "cd"], &["", "cd"], "ab:0 |");
    }

    #[test]
    fn the_stop_string_that_ended_the_text_is_known() {
        for (texts, stop, expected) in [
            (&["a", "ST", "OP"][..], &["x", "STOP"][..], Some("STOP")),
            (&["abc"], &["abc", "b"], Some("b")),
            (&["xabc"], &["bc", "abc"], Some("abc")),
            (&["ab"], &["abc"], None),
        ] {
            let (mut stream, _) = stream(texts, stop);
            for id in (256..).take(texts.len()) {
                stream.push(id, &mut Vec::new());
            }
            assert_eq!(stream.stop_string(), expected, "{texts:?} stop {stop:?}");
        }
    }

    #[test]
    fn nothing_comes_after_a_stop() {
        let (mut stream, _) = stream(&["a.", "b"], &["."]);
        let mut pieces = Vec::new();
        assert_eq!(stream.push(256, &mut pieces), StreamState::Stopped);
        assert_eq!(stream.push(257, &mut pieces), StreamState::Stopped);
        stream.finish(&mut pieces);
        assert_eq!(pieces, [Piece { text: "a".into(), ids: vec![256] }]);
    }

    fn bytes(stream: &mut TextStream, bytes: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        bytes.iter().for_each(|&byte| {
            stream.push(u32::from(byte), &mut pieces);
        });
        pieces
    }

    #[test]
    fn a_character_goes_out_whole_with_all_its_tokens() {
        let (mut stream, _) = stream(&[], &[]);
        assert_eq!(bytes(&mut stream, b"\xF0\x9F\x98"), []);
        let expected = Piece { text: "😀".into(), ids: vec![0xF0, 0x9F, 0x98, 0x80] };
        assert_eq!(bytes(&mut stream, b"\x80"), [expected]);
    }

    #[test]
    fn invalid_bytes_become_replacement_characters() {
        let (mut stream, _) = stream(&[], &[]);
        let mut pieces = bytes(&mut stream, b"\xFF\xE2\x82a\xF0\x9F");
        stream.finish(&mut pieces);
        let text: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
        assert_eq!(text, "\u{FFFD}\u{FFFD}a\u{FFFD}");
        let ids: Vec<u32> = pieces.into_iter().flat_map(|piece| piece.ids).collect();
        assert_eq!(ids, [0xFF, 0xE2, 0x82, u32::from(b'a'), 0xF0, 0x9F]);
    }

    #[test]
    fn the_rest_of_a_released_token_is_free() {
        let (mut stream, _) = stream(&["xST"], &["STOP"]);
        let mut pieces = Vec::new();
        stream.push(256, &mut pieces);
        stream.push(u32::from(b'!'), &mut pieces);
        let piece = |text: &str, ids: &[u32]| Piece { text: text.into(), ids: ids.into() };
        let expected = [piece("x", &[256]), piece("ST", &[]), piece("!", &[u32::from(b'!')])];
        assert_eq!(pieces, expected);
    }

    #[test]
    fn a_real_replacement_character_does_not_stall() {
        check(&["\u{FFFD}", "a"], &[], "\u{FFFD}:0 | a:1 | $");
    }

    #[test]
    fn tokens_that_came_before_a_stop_string_give_the_same_text_again() {
        for (tokens, stops, expected) in [
            // Held back for another stop string than the one that came.
            (&[" there", " you"][..], &["there you go", " you"][..], " there"),
            // Held back for the one that came.
            (&["a ST", "OP"], &["STOP", "ST?"], "a "),
            (&["ab", "cde"], &["abcx", "bcd"], "a"),
            // Its beginning is in the last token, and looks longer than it is.
            (&["aa", "ab"], &["aab"], "a"),
            (&["x", "yy", "z"], &["xyyq", "yz"], "xy"),
            (&["\u{645}", "<", "/s>"], &["</s>"], "\u{645}"),
        ] {
            let (mut new, _) = stream(tokens, stops);
            let mut pieces = Vec::new();
            for id in 256..256 + tokens.len() as u32 {
                new.push(id, &mut pieces);
            }
            let stop = new.stop_string().expect("one came");
            let (mut again, _) = stream(tokens, stops);
            let mut again_pieces = Vec::new();
            for id in pieces.iter().flat_map(|piece| &piece.ids) {
                again.push(*id, &mut again_pieces);
            }
            again.finish_before(stop, &mut again_pieces);
            let text = |pieces: &[Piece]| -> String {
                pieces.iter().map(|piece| piece.text.as_str()).collect()
            };
            assert_eq!(text(&pieces), expected);
            assert_eq!(text(&again_pieces), expected, "{tokens:?}, {stops:?}");
        }
    }

    #[test]
    fn control_tokens_are_never_released() {
        let (mut stream, end) = stream(&["a"], &["<end>"]);
        let mut pieces = Vec::new();
        assert_eq!(stream.push(end, &mut pieces), StreamState::Open);
        assert_eq!(stream.push(9999, &mut pieces), StreamState::Open);
        stream.push(256, &mut pieces);
        stream.finish(&mut pieces);
        assert_eq!(pieces, [Piece { text: "a".into(), ids: vec![256] }]);
    }

    #[test]
    fn random_bytes_equal_the_lossy_whole_and_release_every_token_once() {
        let mut seed = 7u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % below
        };
        let alphabet = b"ab\xE2\x82\xAC\xF0\x9F\x98\x80\xC3\xFF";
        for _ in 0..2000 {
            let text: Vec<u8> =
                (0..random(30)).map(|_| alphabet[random(alphabet.len() as u64) as usize]).collect();
            let (mut stream, _) = stream(&[], &["aab", "b€b", "aabaac"]);
            let mut pieces = bytes(&mut stream, &text);
            stream.finish(&mut pieces);
            let find = |stop: &str| {
                let at = text.windows(stop.len()).position(|window| window == stop.as_bytes());
                at.map(|at| (at + stop.len(), at))
            };
            let cut = ["aab", "b€b", "aabaac"].into_iter().filter_map(find).min();
            let kept = &text[..cut.map_or(text.len(), |(_, start)| start)];
            let found: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
            assert_eq!(found, String::from_utf8_lossy(kept), "{text:?}");
            let ids: Vec<u8> = pieces.iter().flat_map(|p| &p.ids).map(|&id| id as u8).collect();
            assert_eq!(ids, kept, "{text:?}");
        }
    }
}
