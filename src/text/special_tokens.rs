//! Finds the tokens that are cut out of text before it is encoded: user-defined ones wherever they
//! stand, control tokens only where the caller allows them.
//! Promises: as llama.cpp's `tokenizer_st_partition`, longer tokens are looked for first; text
//! between tokens is returned unchanged, but for tokens that strip the space beside them.
//! Never knows: how the text between is encoded.

use std::ops::Range;

use aho_corasick::AhoCorasick;
use memchr::memmem;

/// A token that is one wherever its text stands.
#[derive(Debug, Clone)]
pub(super) struct SpecialToken {
    pub(super) id: u32,
    pub(super) text: String,
    /// Steers the model: text from users must not contain it.
    pub(super) is_control: bool,
    /// Takes the whitespace before it along (`tokenizer.json` only).
    pub(super) strips_left: bool,
    /// Takes the whitespace after it along.
    pub(super) strips_right: bool,
}

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fragment {
    /// Still to encode: a range of bytes, never empty.
    Text(Range<usize>),
    /// A special token, and the bytes that spell it.
    Token(u32, Range<usize>),
}

/// All special tokens of a vocabulary.
#[derive(Debug)]
pub(super) struct SpecialTokens {
    tokens: Vec<SpecialToken>, // longest first
    /// Tells which tokens occur at all, in one pass. `None` if there are no tokens.
    automaton: Option<AhoCorasick>,
}

impl SpecialTokens {
    /// Prepares the search; tokens without text are dropped.
    pub(super) fn new(mut tokens: Vec<SpecialToken>) -> Self {
        tokens.retain(|token| !token.text.is_empty());
        tokens.sort_by(|a, b| b.text.len().cmp(&a.text.len()).then(a.id.cmp(&b.id)));
        // Building fails only past 2^31 states; searching without it is slower, not different.
        let automaton = AhoCorasick::new(tokens.iter().map(|token| &token.text)).ok();
        Self { automaton: automaton.filter(|_| !tokens.is_empty()), tokens }
    }

    /// The control tokens.
    pub(super) fn controls(&self) -> impl Iterator<Item = &SpecialToken> {
        self.tokens.iter().filter(|token| token.is_control)
    }

    /// Whether a token is one of the control tokens.
    pub(super) fn is_control(&self, id: u32) -> bool {
        self.controls().any(|token| token.id == id)
    }

    /// Cuts `text` into tokens and the text between them. A control token counts only where
    /// `allows_control` accepts its range.
    pub(super) fn partition(
        &self,
        text: &str,
        allows_control: impl Fn(&Range<usize>) -> bool,
    ) -> Vec<Fragment> {
        if text.is_empty() {
            return Vec::new();
        }
        let mut fragments = vec![Fragment::Text(0..text.len())];
        for token in self.occurring(text) {
            let finder = memmem::Finder::new(&token.text);
            let mut next = Vec::with_capacity(fragments.len());
            for fragment in fragments {
                let Fragment::Text(range) = fragment else {
                    next.push(fragment);
                    continue;
                };
                self.cut(text, range, token, &finder, &allows_control, &mut next);
            }
            fragments = next;
        }
        fragments
    }

    /// Those tokens that `text` contains, longest first. One pass over the text, so that the
    /// thousands of reserved tokens of some vocabularies cost nothing.
    fn occurring(&self, text: &str) -> Vec<&SpecialToken> {
        let Some(automaton) = &self.automaton else { return self.tokens.iter().collect() };
        let mut seen = vec![false; self.tokens.len()];
        for found in automaton.find_overlapping_iter(text) {
            seen[found.pattern().as_usize()] = true;
        }
        self.tokens.iter().zip(seen).filter(|(_, seen)| *seen).map(|(token, _)| token).collect()
    }

    fn cut(
        &self,
        text: &str,
        range: Range<usize>,
        token: &SpecialToken,
        finder: &memmem::Finder<'_>,
        allows_control: &impl Fn(&Range<usize>) -> bool,
        out: &mut Vec<Fragment>,
    ) {
        let bytes = text.as_bytes();
        let mut start = range.start; // of the text not yet given out
        let mut search = range.start;
        while let Some(offset) = finder.find(&bytes[search..range.end]) {
            let found = search + offset..search + offset + token.text.len();
            if token.is_control && !allows_control(&found) {
                search = found.start + 1;
                continue;
            }
            let mut before = &text[start..found.start];
            if token.strips_left {
                before = before.trim_end();
            }
            if !before.is_empty() {
                out.push(Fragment::Text(start..start + before.len()));
            }
            start = found.end;
            if token.strips_right {
                let after = &text[start..range.end];
                start += after.len() - after.trim_start().len();
            }
            search = start;
            out.push(Fragment::Token(token.id, found));
        }
        if start < range.end {
            out.push(Fragment::Text(start..range.end));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> SpecialTokens {
        let token = |(id, text): (u32, &str), is_control| SpecialToken {
            id,
            text: text.to_owned(),
            is_control,
            strips_left: text == "[L]",
            strips_right: text == "[R]",
        };
        let plain = [(0, "\n"), (1, "\n\n"), (2, "ab"), (3, "abcd"), (4, "[L]"), (5, "[R]")];
        let control = [(6, "<s>"), (7, "<<s>")];
        SpecialTokens::new(
            plain
                .map(|t| token(t, false))
                .into_iter()
                .chain(control.map(|t| token(t, true)))
                .collect(),
        )
    }

    fn check(text: &str, allowed: Range<usize>, expected: &[&str]) {
        let within =
            |found: &Range<usize>| allowed.start <= found.start && found.end <= allowed.end;
        let found: Vec<String> = tokens()
            .partition(text, within)
            .into_iter()
            .map(|fragment| match fragment {
                Fragment::Text(range) => text[range].to_owned(),
                Fragment::Token(id, range) => format!("{id}={}", &text[range]),
            })
            .collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn longest_first_then_leftmost() {
        check("", 0..0, &[]);
        check("x", 0..1, &["x"]);
        check("xabcdab", 0..0, &["x", "3=abcd", "2=ab"]);
        check("\n\n\n", 0..0, &["1=\n\n", "0=\n"]);
        check("<<s>", 0..4, &["7=<<s>"]);
    }

    #[test]
    fn control_tokens_only_where_allowed() {
        check("<s>é<s>", 0..3, &["6=<s>", "é<s>"]);
        check("<s>é<s>", 5..8, &["<s>é", "6=<s>"]);
        check("<<s>ab", 1..6, &["<", "6=<s>", "2=ab"]);
        check("<s>", 1..3, &["<s>"]);
    }

    #[test]
    fn stripping_takes_the_space_beside() {
        check("a [L] b [R]  c", 0..0, &["a", "4=[L]", " b ", "5=[R]", "c"]);
        check(" [L]", 0..0, &["4=[L]"]);
    }
}
