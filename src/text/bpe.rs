//! Byte-pair encoding: splits text into words, then merges each word by the rank of its pairs.
//! Promises: the ids' bytes, joined, are the text, as far as the vocabulary can spell it; never
//! yields a control token.
//! Never knows: special tokens, templates.

use super::byte_level;
use super::merge::Merger;
use super::pretokenizer::Pretokenizer;
use super::vocabulary::TokenType;
use super::{FastMap, TokenizerError};

/// What a word is made of before anything merges.
#[derive(Debug)]
enum Letters {
    /// Its bytes (GPT-2, Llama 3, Qwen): the symbol of each.
    Bytes(Box<[u32; 256]>),
    /// Its characters (`tokenizer.json` of SentencePiece models): those that are tokens. Others
    /// are spelled in byte tokens.
    Characters(FastMap<char, u32>),
}

/// How to build a [`Bpe`].
#[derive(Debug)]
pub(super) struct BpeOptions {
    pub(super) pretokenizer: Pretokenizer,
    /// A word that is a token is that token, without merging.
    pub(super) ignore_merges: bool,
    /// Tokens are spelled in the byte-level alphabet.
    pub(super) byte_level: bool,
    /// Stands for what cannot be spelled; `None`: that is left out.
    pub(super) unknown: Option<u32>,
}

/// A byte-pair encoder.
#[derive(Debug)]
pub(super) struct Bpe {
    pretokenizer: Pretokenizer,
    letters: Letters,
    /// Two neighbouring symbols -> the rank of their merge, and what it makes.
    merges: FastMap<(u32, u32), (u32, u32)>,
    /// Words that are tokens, where merging is skipped for them; else empty.
    words: FastMap<Box<[u8]>, u32>,
    /// `<0x00>`..`<0xFF>`, where the vocabulary has them.
    byte_tokens: Box<[Option<u32>; 256]>,
    unknown: Option<u32>,
    /// Symbols from here on only occur on the way to a token, and are spelled in letters.
    num_tokens: u32,
    /// The letters of the symbols from `num_tokens` on.
    spellings: Vec<Vec<u32>>,
}

/// Spellings while the table of merges is built.
struct Interner<'v> {
    ids: FastMap<&'v str, u32>,
    extra: FastMap<String, u32>,
    num_tokens: u32,
}

impl<'v> Interner<'v> {
    fn symbol(&mut self, text: &str) -> u32 {
        if let Some(&id) = self.ids.get(text).or_else(|| self.extra.get(text)) {
            return id;
        }
        let id = self.num_tokens + self.extra.len() as u32;
        self.extra.insert(text.to_owned(), id);
        id
    }
}

impl Bpe {
    /// Builds the tables; `types` is as long as `tokens`, `merges` are in order of importance.
    /// Only normal and user-defined tokens can come out of text.
    pub(super) fn new(
        tokens: &[String],
        types: &[TokenType],
        merges: &[(&str, &str)],
        options: BpeOptions,
    ) -> Self {
        let num_tokens = tokens.len() as u32;
        let spelled = || {
            tokens.iter().zip(types).zip(0..num_tokens).filter_map(|((text, kind), id)| {
                matches!(kind, TokenType::Normal | TokenType::UserDefined)
                    .then_some((text.as_str(), id))
            })
        };
        let mut interner =
            Interner { ids: spelled().collect(), extra: FastMap::default(), num_tokens };
        let alphabet = byte_level::alphabet();
        let mut buffer = [0; 4];
        let letters = if options.byte_level {
            Letters::Bytes(Box::new(alphabet.map(|c| interner.symbol(c.encode_utf8(&mut buffer)))))
        } else {
            let single = |(text, id): (&str, u32)| {
                let mut characters = text.chars();
                Some((characters.next()?, id)).filter(|_| characters.next().is_none())
            };
            Letters::Characters(spelled().filter_map(single).collect())
        };
        let mut table = FastMap::with_capacity_and_hasher(merges.len(), Default::default());
        for (rank, (left, right)) in (0..).zip(merges) {
            let pair = (interner.symbol(left), interner.symbol(right));
            let merged = interner.symbol(&format!("{left}{right}"));
            table.entry(pair).or_insert((rank, merged));
        }
        let words = if options.ignore_merges {
            spelled().map(|(text, id)| (spelling_bytes(text, options.byte_level), id)).collect()
        } else {
            FastMap::default()
        };
        let byte_tokens = byte_tokens(tokens, types);
        let mut extra: Vec<(String, u32)> = interner.extra.into_iter().collect();
        extra.sort_unstable_by_key(|&(_, id)| id);
        let mut bpe = Self {
            pretokenizer: options.pretokenizer,
            letters,
            merges: table,
            words,
            byte_tokens,
            unknown: options.unknown,
            num_tokens,
            spellings: Vec::new(),
        };
        bpe.spellings = extra.iter().map(|(text, _)| bpe.spell(text, options.byte_level)).collect();
        bpe
    }

    /// The tokens that stand for a symbol which is no token itself.
    fn spell(&self, text: &str, byte_level: bool) -> Vec<u32> {
        let mut ids = Vec::new();
        if let Letters::Bytes(symbols) = &self.letters {
            debug_assert!(byte_level);
            for &byte in spelling_bytes(text, byte_level).iter() {
                let symbol = symbols[usize::from(byte)];
                ids.extend(if symbol < self.num_tokens { Some(symbol) } else { self.unknown });
            }
        } else {
            text.chars().for_each(|character| self.push_letter(character, |id, _| ids.push(id)));
        }
        ids
    }

    /// The letters of one character where letters are characters: itself, or its bytes, or unknown.
    fn push_letter(&self, character: char, mut push: impl FnMut(u32, u32)) {
        let Letters::Characters(known) = &self.letters else { return };
        if let Some(&id) = known.get(&character) {
            return push(id, character.len_utf8() as u32);
        }
        let mut buffer = [0; 4];
        let bytes = character.encode_utf8(&mut buffer).as_bytes();
        let spelled: Vec<u32> =
            bytes.iter().map_while(|&byte| self.byte_tokens[usize::from(byte)]).collect();
        if spelled.len() == bytes.len() {
            spelled.into_iter().for_each(|id| push(id, 1));
        } else if let Some(id) = self.unknown {
            push(id, bytes.len() as u32);
        }
    }

    /// Appends the ids of `text`, which holds no special tokens.
    pub(super) fn encode(&self, text: &str, merger: &mut Merger, ids: &mut Vec<u32>) {
        self.pretokenizer.split(text, &mut |word| self.encode_word(word, merger, ids));
    }

    fn encode_word(&self, word: &str, merger: &mut Merger, ids: &mut Vec<u32>) {
        if let Some(&id) = self.words.get(word.as_bytes()) {
            return ids.push(id);
        }
        merger.clear();
        match &self.letters {
            Letters::Bytes(symbols) => {
                word.bytes().for_each(|byte| merger.push(symbols[usize::from(byte)], 1));
            }
            Letters::Characters(_) => {
                for character in word.chars() {
                    self.push_letter(character, |id, len| merger.push(id, len));
                }
            }
        }
        merger.run(|left, right| self.merges.get(&(left.id, right.id)).copied());
        for symbol in merger.symbols() {
            match symbol.id.checked_sub(self.num_tokens) {
                None => ids.push(symbol.id),
                Some(extra) => ids.extend_from_slice(&self.spellings[extra as usize]),
            }
        }
    }
}

/// `<0x00>`..`<0xFF>`, where the vocabulary has them as bytes.
pub(super) fn byte_tokens(tokens: &[String], types: &[TokenType]) -> Box<[Option<u32>; 256]> {
    let mut found = Box::new([None; 256]);
    for ((text, kind), id) in tokens.iter().zip(types).zip(0..) {
        if *kind == TokenType::Byte
            && let Some(byte) = byte_of(text)
        {
            found[usize::from(byte)] = Some(id);
        }
    }
    found
}

/// The byte that `<0xNN>` spells.
pub(super) fn byte_of(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok())?
}

fn spelling_bytes(text: &str, byte_level: bool) -> Box<[u8]> {
    if !byte_level {
        return text.as_bytes().into();
    }
    let mut bytes = Vec::with_capacity(text.len());
    byte_level::decode(text, &mut bytes);
    bytes.into()
}

/// The two parts of each merge of a GGUF file. Only the first space divides: the parts of some
/// vocabularies hold spaces themselves.
pub(super) fn split_merges(merges: &[String]) -> Result<Vec<(&str, &str)>, TokenizerError> {
    let invalid = |rank: usize| {
        let merge = &merges[rank];
        let why = format!("merge {rank}, {merge:?}, is not two parts with a space between");
        TokenizerError::InvalidVocabulary(why)
    };
    let split = merges.iter().enumerate();
    split.map(|(rank, merge)| split_merge(merge).ok_or_else(|| invalid(rank))).collect()
}

fn split_merge(merge: &str) -> Option<(&str, &str)> {
    let first = merge.chars().next()?.len_utf8(); // not a divider, even if it is a space
    let space = first + merge[first..].find(' ')?;
    Some((&merge[..space], &merge[space + 1..])).filter(|(_, right)| !right.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Merges<'t> = &'t [(&'t str, &'t str)];

    fn encode(tokens: &[&str], merges: Merges<'_>, byte_level: bool, text: &str) -> Vec<String> {
        let tokens: Vec<String> = tokens.iter().map(|&token| token.to_owned()).collect();
        let types: Vec<TokenType> = tokens
            .iter()
            .map(|t| byte_of(t).map_or(TokenType::Normal, |_| TokenType::Byte))
            .collect();
        let pretokenizer = Pretokenizer::default();
        let options = BpeOptions { pretokenizer, ignore_merges: false, byte_level, unknown: None };
        let bpe = Bpe::new(&tokens, &types, merges, options);
        let mut ids = Vec::new();
        bpe.encode(text, &mut Merger::default(), &mut ids);
        ids.iter().map(|&id| tokens[id as usize].clone()).collect()
    }

    #[test]
    fn the_best_rank_merges_first_and_the_leftmost_of_equals() {
        let tokens = ["a", "b", "c", "ab", "bc", "aa"];
        assert_eq!(encode(&tokens, &[("b", "c"), ("a", "b")], true, "abc"), ["a", "bc"]);
        assert_eq!(encode(&tokens, &[("a", "b"), ("b", "c")], true, "abc"), ["ab", "c"]);
        assert_eq!(encode(&tokens, &[("a", "a")], true, "aaa"), ["aa", "a"]);
    }

    #[test]
    fn a_merge_that_is_no_token_is_a_step_to_one_or_spelled_out() {
        let tokens = ["a", "b", "c", "abc"];
        let merges = [("a", "b"), ("ab", "c")];
        assert_eq!(encode(&tokens, &merges, true, "abc"), ["abc"]);
        assert_eq!(encode(&tokens, &merges, true, "abb"), ["a", "b", "b"]);
    }

    #[test]
    fn characters_fall_back_to_bytes() {
        let tokens = ["▁", "a", "▁a", "<0xC3>", "<0xA9>"];
        assert_eq!(encode(&tokens, &[("▁", "a")], false, "▁aé"), ["▁a", "<0xC3>", "<0xA9>"]);
    }

    #[test]
    fn merges_split_at_their_first_space() {
        assert_eq!(split_merge("a b"), Some(("a", "b")));
        assert_eq!(split_merge("  b"), Some((" ", "b")));
        assert_eq!(split_merge("é b c"), Some(("é", "b c")));
        assert_eq!(split_merge("ab"), None);
        assert_eq!(split_merge("ab "), None);
    }
}
