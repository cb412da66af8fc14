//! Splits text into the words that byte-pair encoding merges within.
//! Promises: the words, joined, are the text; time is linear in the text (no backtracking).
//! Never knows: vocabularies, ids.
//!
//! The published patterns end in `\s+(?!\S)|\s+`: a run of whitespace leaves its last character to
//! the word that follows. That is the only lookahead in them, so it is done by hand here
//! ([`Splitter::give_back`]) and the rest by a linear-time engine.

use regex::Regex;

use super::TokenizerError;

/// The values of `tokenizer.ggml.pre` that are known.
pub(super) const KNOWN: &str = "llama3, llama-v3, llama-bpe, pixtral, lfm2, falcon3, qwen2, \
     deepseek-r1-qwen, qwen35, smollm, starcoder, refact, command-r, exaone, gpt-2, phi-2, tekken";

const LOOKAHEAD: &str = r"|\s+(?!\S)";

/// A pattern, by its alternatives.
type Alternatives = &'static [&'static str];

const CONTRACTIONS: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";
const WORD: &str = r"[^\r\n\p{L}\p{N}]?\p{L}+";
const SIGNS: &str = r" ?[^\s\p{L}\p{N}]+[\r\n]*";
const LINES: &str = r"\s*[\r\n]+";
const SPACES: &str = r"\s+(?!\S)|\s+";

const LLAMA3: Alternatives = &[CONTRACTIONS, WORD, r"\p{N}{1,3}", SIGNS, LINES, SPACES];
const QWEN2: Alternatives = &[CONTRACTIONS, WORD, r"\p{N}", SIGNS, LINES, SPACES];
const QWEN35: Alternatives = &[
    CONTRACTIONS,
    r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+",
    r"\p{N}",
    r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*",
    LINES,
    SPACES,
];
const GPT2: Alternatives =
    &["'s|'t|'re|'ve|'m|'ll|'d", r" ?\p{L}+", r" ?\p{N}+", r" ?[^\s\p{L}\p{N}]+", SPACES];
/// As Mistral publishes it. llama.cpp tells cases apart for ASCII only.
const TEKKEN: Alternatives = &[
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"\p{N}",
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
    LINES,
    SPACES,
];
const DIGITS: Alternatives = &[r"\p{N}"];

/// What the name of a pre-tokenizer implies.
#[derive(Debug)]
pub(super) struct Preset {
    pub(super) pretokenizer: Pretokenizer,
    /// A word that is a token is that token, without merging.
    pub(super) ignore_merges: bool,
    /// Whether prompts begin with BOS where the file does not say.
    pub(super) add_bos: bool,
}

/// Splitting passes, each within the pieces of the last.
#[derive(Debug, Default)]
pub(super) struct Pretokenizer {
    passes: Vec<Splitter>,
}

impl Pretokenizer {
    /// The splits, as llama.cpp assigns them to the names of `tokenizer.ggml.pre`.
    pub(super) fn preset(name: &str) -> Result<Preset, TokenizerError> {
        let (passes, ignore_merges, add_bos): (&[Alternatives], _, _) = match name {
            "llama3" | "llama-v3" | "llama-bpe" | "pixtral" | "lfm2" | "falcon3" => {
                (&[LLAMA3], true, true)
            }
            "qwen2" | "deepseek-r1-qwen" => (&[QWEN2], false, false),
            "qwen35" => (&[QWEN35], false, false),
            "smollm" | "starcoder" | "refact" | "command-r" | "exaone" => {
                (&[DIGITS, GPT2], false, false)
            }
            "gpt-2" | "phi-2" => (&[GPT2], false, false),
            "tekken" => (&[TEKKEN], true, true),
            _ => return Err(TokenizerError::UnknownPreTokenizer(name.to_owned())),
        };
        let mut pretokenizer = Pretokenizer::default();
        for alternatives in passes {
            pretokenizer.push(&alternatives.join("|"))?;
        }
        Ok(Preset { pretokenizer, ignore_merges, add_bos })
    }

    /// Adds a pass that makes every match of `pattern`, and every gap between two, a piece.
    pub(super) fn push(&mut self, pattern: &str) -> Result<(), TokenizerError> {
        self.passes.push(Splitter::new(pattern)?);
        Ok(())
    }

    /// Adds GPT-2's own split, which Hugging Face's `ByteLevel` implies.
    pub(super) fn push_gpt2(&mut self) {
        self.push(&GPT2.join("|")).expect("the pattern is a constant that the tests compile");
    }

    /// Calls `word` with every word of `text`, in order.
    pub(super) fn split<'t>(&self, text: &'t str, word: &mut dyn FnMut(&'t str)) {
        split_within(&self.passes, text, word);
    }
}

fn split_within<'t>(passes: &[Splitter], text: &'t str, word: &mut dyn FnMut(&'t str)) {
    match passes {
        [] => word(text),
        [first, rest @ ..] => first.split(text, &mut |piece| split_within(rest, piece, word)),
    }
}

#[derive(Debug)]
struct Splitter {
    pattern: Regex,
    /// The pattern had the lookahead for whitespace.
    gives_back: bool,
    /// Another alternative takes runs of whitespace up to their last line break.
    takes_lines: bool,
}

impl Splitter {
    fn new(pattern: &str) -> Result<Self, TokenizerError> {
        // `A|\s+(?!\S)` and `A|\s+(?!\S)|\s+` split alike: what the first leaves over is one
        // character, which is a gap.
        let gives_back = pattern.contains(LOOKAHEAD);
        let linear = match pattern.split_once(LOOKAHEAD) {
            Some((before, "" | r"|\s+")) => format!(r"{before}|\s+"),
            _ => pattern.to_owned(),
        };
        let unsupported = |why: &dyn std::fmt::Display| TokenizerError::Unsupported {
            part: "split pattern",
            value: format!("{pattern:?} ({why})"),
        };
        let compiled = Regex::new(&linear).map_err(|error| unsupported(&error))?;
        Ok(Self { pattern: compiled, gives_back, takes_lines: pattern.contains(r"|\s*[\r\n]") })
    }

    fn split<'t>(&self, text: &'t str, piece: &mut dyn FnMut(&'t str)) {
        let mut at = 0;
        while at < text.len() {
            // An empty match would not advance: the rest is then one piece.
            let found = self.pattern.find_at(text, at).filter(|found| !found.is_empty());
            let Some(found) = found else { break };
            let end = found.end() - self.give_back(text, found.range());
            if at < found.start() {
                piece(&text[at..found.start()]);
            }
            piece(&text[found.start()..end]);
            at = end;
        }
        if at < text.len() {
            piece(&text[at..]);
        }
    }

    /// How many bytes of the match `\s+(?!\S)` would have left: the last character of a run of
    /// whitespace that other text follows, unless the run is that character alone.
    fn give_back(&self, text: &str, found: std::ops::Range<usize>) -> usize {
        if !self.gives_back || found.end == text.len() {
            return 0;
        }
        let mut reversed = text[found].chars().rev();
        let Some(last) = reversed.next() else { return 0 };
        // No other alternative ends in whitespace, but for those that end in a line break.
        let by_run = last.is_whitespace() && !(self.takes_lines && matches!(last, '\r' | '\n'));
        if by_run && reversed.next().is_some() { last.len_utf8() } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pre: &str, text: &str, expected: &[&str]) {
        let preset = Pretokenizer::preset(pre).unwrap();
        let mut words = Vec::new();
        preset.pretokenizer.split(text, &mut |word| words.push(word));
        assert_eq!(words, expected, "{pre}: {text:?}");
    }

    #[test]
    fn words_of_each_family() {
        check(
            "gpt-2",
            "I'll  pay\t\n12.5 KWD ",
            &["I", "'ll", " ", " pay", "\t", "\n", "12", ".", "5", " KWD", " "],
        );
        check("smollm", "a 123", &["a", " ", "1", "2", "3"]);
        check(
            "llama-bpe",
            "I'LL  pay\t\n12345 KWD! \n x",
            &["I", "'LL", " ", " pay", "\t\n", "123", "45", " KWD", "!", " \n", " x"],
        );
        check("qwen2", "12\r\n\r\n  a", &["1", "2", "\r\n\r\n", " ", " a"]);
        check("qwen35", "e\u{301}", &["e\u{301}"]);
        check("tekken", "HelloWORLDhello 12/\n", &["Hello", "WORLDhello", " ", "1", "2", "/\n"]);
    }

    #[test]
    fn whitespace_leaves_one_to_the_next_word() {
        check("llama-bpe", "   x", &["  ", " x"]);
        check("llama-bpe", "\u{3000}\u{3000}x", &["\u{3000}", "\u{3000}x"]);
        check("llama-bpe", "x   ", &["x", "   "]);
        check("llama-bpe", " \n \n  x", &[" \n \n", " ", " x"]);
        check("gpt-2", "\n\nx", &["\n", "\n", "x"]);
        check("gpt-2", "\n\n", &["\n\n"]);
    }

    #[test]
    fn every_known_name_compiles_and_others_are_named() {
        for name in KNOWN.split(", ") {
            Pretokenizer::preset(name).unwrap();
        }
        let error = Pretokenizer::preset("klingon").unwrap_err();
        assert!(error.to_string().contains("\"klingon\""), "{error}");
    }

    #[test]
    fn unknown_lookaheads_are_refused() {
        let error = Splitter::new(r"\d{1,3}(?=(?:\d{3})*\b)").unwrap_err();
        assert!(matches!(error, TokenizerError::Unsupported { .. }), "{error}");
    }
}
