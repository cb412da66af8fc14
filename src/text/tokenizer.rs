//! Text to token ids and back, for every vocabulary this build knows.
//! Promises: ids equal llama.cpp's; control tokens come only out of text that the caller says may
//! hold them; encoding cannot fail and takes O(n log n), whatever the text.
//! Never knows: models, templates, files.

use std::ops::Range;

use super::bpe::{Bpe, BpeOptions, byte_of, split_merges};
use super::byte_level;
use super::merge::Merger;
use super::pretokenizer::Pretokenizer;
use super::special_tokens::{Fragment, SpecialToken, SpecialTokens};
use super::spm::Spm;
use super::vocabulary::{TokenType, Vocabulary};
use super::{Segment, TokenizerError, tokenizer_json};

/// Stands for a space in the spelling of SentencePiece tokens (U+2581).
pub(super) const SPACE_MARK: &str = "▁";

/// Spellings that end a turn whatever the file calls them: some files forget to.
const ENDS: [&str; 7] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<｜end▁of▁sentence｜>",
];

/// Spellings that end a turn where they are control tokens: after them, code models begin another
/// file. As `special_eog_ids` of llama.cpp's `llama-vocab.cpp`.
const CONTROL_ENDS: [&str; 7] =
    ["</s>", "<|end|>", "[EOS]", "<|fim_pad|>", "<|repo_name|>", "<reponame>", "<|file_sep|>"];

/// Whether control tokens spelled in a text count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Specials {
    /// Their spelling is plain text, as it must be in what users write.
    Plain,
    /// Their spelling is the token.
    Parse,
}

#[derive(Debug)]
pub(super) enum Algorithm {
    Bpe(Bpe),
    Spm(Spm),
}

/// Where a space is put before text (SentencePiece's dummy prefix).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum SpacePrefix {
    #[default]
    Never,
    /// Before every text between special tokens.
    Always,
    /// Before text that does not begin with a space, between special tokens.
    IfMissing,
    /// As `IfMissing`, but only where no special token comes first.
    IfMissingAtStart,
}

/// What happens to text before it is encoded.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Normalizer {
    /// Unicode's composed form (NFC).
    pub(super) composes: bool,
    pub(super) prefix: SpacePrefix,
    /// Spaces become [`SPACE_MARK`].
    pub(super) marks_spaces: bool,
}

/// What a tokenizer is made of, whichever file it came from.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) tokens: Vec<String>,
    pub(super) types: Vec<TokenType>,
    pub(super) specials: Vec<SpecialToken>,
    pub(super) algorithm: Algorithm,
    pub(super) normalizer: Normalizer,
    pub(super) byte_level: bool,
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) add_bos: bool,
    /// What ends a text that is embedded.
    pub(super) eos_suffix: Option<u32>,
    pub(super) end_of_turn: Vec<u32>,
}

/// A model's tokenizer. Immutable: share it between threads.
#[derive(Debug)]
pub struct Tokenizer {
    tokens: Vec<String>,
    types: Vec<TokenType>,
    bytes: TokenBytes,
    specials: SpecialTokens,
    algorithm: Algorithm,
    normalizer: Normalizer,
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: bool,
    eos_suffix: Option<u32>,
    end_of_turn: Vec<u32>,
}

impl Tokenizer {
    /// Builds the tokenizer that a GGUF file describes. Fails if its algorithm or its
    /// pre-tokenizer is unknown, or its lists do not fit one another; never guesses.
    pub fn from_vocabulary(mut vocabulary: Vocabulary) -> Result<Self, TokenizerError> {
        vocabulary.check()?;
        let tokens = std::mem::take(&mut vocabulary.tokens);
        let mut types = std::mem::take(&mut vocabulary.token_types);
        types.resize(tokens.len(), TokenType::Normal);
        let named = [vocabulary.eos, vocabulary.eot, vocabulary.eom];
        let end_of_turn = find_ends(&tokens, &mut types, named.into_iter().flatten(), |_| true);
        // Some files name a control token here, which must never come out of text.
        let kind = |id: u32| types[id as usize];
        let unknown = vocabulary.unknown.filter(|&id| kind(id) != TokenType::Control);
        let mut normalizer = Normalizer::default();
        let (algorithm, default_add_bos) = match vocabulary.model.as_str() {
            "llama" => {
                if vocabulary.scores.len() != tokens.len() {
                    let (scores, count) = (vocabulary.scores.len(), tokens.len());
                    let why = format!("it has {count} tokens but {scores} scores");
                    return Err(TokenizerError::InvalidVocabulary(why));
                }
                normalizer.marks_spaces = true;
                if vocabulary.add_space_prefix.unwrap_or(true) {
                    normalizer.prefix = SpacePrefix::Always;
                }
                let scores = &vocabulary.scores;
                let spm = Spm::new(&tokens, &types, scores, unknown);
                (Algorithm::Spm(spm), true)
            }
            "gpt2" => {
                let preset = Pretokenizer::preset(vocabulary.pre.as_deref().unwrap_or_default())?;
                let options = BpeOptions {
                    pretokenizer: preset.pretokenizer,
                    ignore_merges: preset.ignore_merges,
                    byte_level: true,
                    unknown,
                };
                let merges = split_merges(&vocabulary.merges)?;
                let bpe = Bpe::new(&tokens, &types, &merges, options);
                (Algorithm::Bpe(bpe), preset.add_bos)
            }
            other => return Err(TokenizerError::UnknownModel(other.to_owned())),
        };
        Ok(Self::from_parts(Parts {
            specials: special_tokens(&tokens, &types),
            byte_level: matches!(algorithm, Algorithm::Bpe(_)),
            tokens,
            types,
            algorithm,
            normalizer,
            bos: vocabulary.bos,
            eos: vocabulary.eos,
            add_bos: vocabulary.add_bos.unwrap_or(default_add_bos),
            eos_suffix: vocabulary.eos.filter(|_| vocabulary.add_eos == Some(true)),
            end_of_turn,
        }))
    }

    /// Builds the tokenizer of a Hugging Face folder: `tokenizer.json`, and `tokenizer_config.json`
    /// for BOS and EOS. Fails if the file asks for a step that is not implemented.
    pub fn from_tokenizer_json(
        tokenizer_json: &[u8],
        tokenizer_config_json: Option<&[u8]>,
    ) -> Result<Self, TokenizerError> {
        tokenizer_json::parse(tokenizer_json, tokenizer_config_json).map(Self::from_parts)
    }

    pub(super) fn from_parts(parts: Parts) -> Self {
        Self {
            bytes: TokenBytes::new(&parts.tokens, &parts.types, parts.byte_level),
            specials: SpecialTokens::new(parts.specials),
            tokens: parts.tokens,
            types: parts.types,
            algorithm: parts.algorithm,
            normalizer: parts.normalizer,
            bos: parts.bos,
            eos: parts.eos,
            add_bos: parts.add_bos,
            eos_suffix: parts.eos_suffix,
            end_of_turn: parts.end_of_turn,
        }
    }

    /// The ids of `text`, without a BOS. `text` is shorter than 4 GiB (asserted).
    pub fn encode(&self, text: &str, specials: Specials) -> Vec<u32> {
        self.encode_where(text, |_| specials == Specials::Parse)
    }

    /// The ids of a rendered prompt. It is encoded as one text; control tokens count only where
    /// the template wrote all of their spelling. Where the vocabulary wants a BOS, or the template
    /// wrote one, the ids begin with exactly one.
    pub fn encode_prompt(&self, segments: &[Segment]) -> Vec<u32> {
        let mut text = String::new();
        let mut written: Vec<Range<usize>> = Vec::new(); // by the template; ascending, apart
        for segment in segments {
            let start = text.len();
            text.push_str(segment.text());
            if matches!(segment, Segment::Content(_)) || text.len() == start {
                continue;
            }
            match written.last_mut() {
                Some(last) if last.end == start => last.end = text.len(),
                _ => written.push(start..text.len()),
            }
        }
        let mut ids = self.encode_where(&text, |found| {
            let after = written.partition_point(|range| range.start <= found.start);
            after > 0 && found.end <= written[after - 1].end
        });
        if let Some(bos) = self.bos {
            let leading = ids.iter().take_while(|&&id| id == bos).count();
            if leading > 1 {
                ids.drain(1..leading);
            } else if leading == 0 && self.add_bos {
                ids.insert(0, bos);
            }
        }
        ids
    }

    fn encode_where(&self, text: &str, allows_control: impl Fn(&Range<usize>) -> bool) -> Vec<u32> {
        assert!(u32::try_from(text.len()).is_ok(), "a text of 4 GiB or more");
        let mut ids = Vec::with_capacity(text.len() / 4);
        let mut merger = Merger::default();
        let mut buffer = String::new();
        for fragment in self.specials.partition(text, allows_control) {
            match fragment {
                Fragment::Token(id, _) => ids.push(id),
                Fragment::Text(range) => {
                    let at_start = range.start == 0;
                    let text = self.normalizer.apply(&text[range], at_start, &mut buffer);
                    match &self.algorithm {
                        Algorithm::Bpe(bpe) => bpe.encode(text, &mut merger, &mut ids),
                        Algorithm::Spm(spm) => spm.encode(text, &mut merger, &mut ids),
                    }
                }
            }
        }
        ids
    }

    /// The BOS to put before a plain prompt, where the vocabulary wants one.
    pub fn bos_prefix(&self) -> Option<u32> {
        self.bos.filter(|_| self.add_bos)
    }

    /// The EOS to put after a text that is embedded, where the vocabulary wants one. What is to be
    /// continued never gets one, whatever the vocabulary says.
    pub fn eos_suffix(&self) -> Option<u32> {
        self.eos_suffix
    }

    /// The text of `ids` as one whole: control tokens hidden, the space that encoding put in front
    /// removed, bytes that are not UTF-8 replaced by U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut bytes = Vec::new();
        for &id in ids.iter().filter(|&&id| !self.is_control(id)) {
            bytes.extend_from_slice(self.token_bytes(id));
        }
        let was_put = self.normalizer.prefix != SpacePrefix::Never && bytes.first() == Some(&b' ');
        String::from_utf8_lossy(&bytes[usize::from(was_put)..]).into_owned()
    }

    /// The bytes a token stands for; none for an id that has no text or does not exist.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        self.bytes.get(id)
    }

    /// A token as the vocabulary spells it; empty for an id that does not exist.
    pub fn token_text(&self, id: u32) -> &str {
        self.tokens.get(id as usize).map_or("", String::as_str)
    }

    /// Whether a token steers the model and is never shown.
    pub fn is_control(&self, id: u32) -> bool {
        self.types.get(id as usize) == Some(&TokenType::Control)
    }

    /// The control token that is spelled so.
    pub fn control_id(&self, spelling: &str) -> Option<u32> {
        let found = self.specials.controls().find(|token| token.text == spelling)?;
        Some(found.id).filter(|id| self.is_control(*id))
    }

    /// The ids that end an answer, ascending. None of them is an output token.
    pub fn end_of_turn(&self) -> &[u32] {
        &self.end_of_turn
    }

    /// The number of ids. The model's logits may be more: padding.
    pub fn vocab_size(&self) -> usize {
        self.tokens.len()
    }

    /// The spelling of the BOS, for templates; empty if there is none.
    pub fn bos_text(&self) -> &str {
        self.bos.map_or("", |id| self.token_text(id))
    }

    /// The spelling of the EOS, for templates; empty if there is none.
    pub fn eos_text(&self) -> &str {
        self.eos.map_or("", |id| self.token_text(id))
    }

    pub(super) fn specials(&self) -> &SpecialTokens {
        &self.specials
    }
}

impl Normalizer {
    /// `text` as it is encoded. `buffer` only lends its memory.
    fn apply<'t>(&self, text: &'t str, at_start: bool, buffer: &'t mut String) -> &'t str {
        use unicode_normalization::{UnicodeNormalization, is_nfc};

        let has_space = text.starts_with(' ') || text.starts_with(SPACE_MARK);
        let puts_space = match self.prefix {
            SpacePrefix::Never => false,
            SpacePrefix::Always => true,
            SpacePrefix::IfMissing => !has_space,
            SpacePrefix::IfMissingAtStart => !has_space && at_start,
        };
        let composes = self.composes && !is_nfc(text);
        let marks = self.marks_spaces && text.contains(' ');
        if !(puts_space || composes || marks) {
            return text;
        }
        buffer.clear();
        if puts_space {
            buffer.push_str(if self.marks_spaces { SPACE_MARK } else { " " });
        }
        let mut push = |character| match character {
            ' ' if self.marks_spaces => buffer.push_str(SPACE_MARK),
            _ => buffer.push(character),
        };
        match composes {
            true => text.nfc().for_each(&mut push),
            false => text.chars().for_each(&mut push),
        }
        buffer
    }
}

/// All tokens' bytes in one allocation.
#[derive(Debug)]
struct TokenBytes {
    bytes: Vec<u8>,
    ends: Vec<usize>, // [num_tokens]
}

impl TokenBytes {
    fn new(tokens: &[String], types: &[TokenType], byte_level: bool) -> Self {
        let mut bytes = Vec::new();
        let mut ends = Vec::with_capacity(tokens.len());
        for (text, kind) in tokens.iter().zip(types) {
            match kind {
                TokenType::Normal if byte_level => byte_level::decode(text, &mut bytes),
                TokenType::Normal | TokenType::UserDefined if !byte_level => {
                    bytes.extend_from_slice(text.replace(SPACE_MARK, " ").as_bytes());
                }
                TokenType::Byte => match byte_of(text) {
                    Some(byte) => bytes.push(byte),
                    None => bytes.extend_from_slice(text.as_bytes()),
                },
                TokenType::Unused => {}
                _ => bytes.extend_from_slice(text.as_bytes()),
            }
            ends.push(bytes.len());
        }
        Self { bytes, ends }
    }

    fn get(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let Some(&end) = self.ends.get(id) else { return &[] };
        let start = id.checked_sub(1).map_or(0, |previous| self.ends[previous]);
        &self.bytes[start..end]
    }
}

/// The tokens that are cut out of text, by their types.
pub(super) fn special_tokens(tokens: &[String], types: &[TokenType]) -> Vec<SpecialToken> {
    let mut specials = Vec::new();
    for ((text, kind), id) in tokens.iter().zip(types).zip(0..) {
        let is_control = match kind {
            TokenType::Control | TokenType::Unknown => true,
            TokenType::UserDefined => false,
            TokenType::Normal | TokenType::Unused | TokenType::Byte => continue,
        };
        let text = text.clone();
        let (strips_left, strips_right) = (false, false);
        specials.push(SpecialToken { id, text, is_control, strips_left, strips_right });
    }
    specials
}

/// The ids that end an answer: those named, and those known by their spelling and of a type that
/// may. They are made control tokens if the file forgot to.
pub(super) fn find_ends(
    tokens: &[String],
    types: &mut [TokenType],
    named: impl Iterator<Item = u32>,
    may_end: impl Fn(TokenType) -> bool,
) -> Vec<u32> {
    let mut ends: Vec<u32> = named.collect();
    for ((text, kind), id) in tokens.iter().zip(&*types).zip(0..) {
        let text = text.as_str();
        let by_name = ENDS.contains(&text) && may_end(*kind);
        if by_name || (*kind == TokenType::Control && CONTROL_ENDS.contains(&text)) {
            ends.push(id);
        }
    }
    ends.sort_unstable();
    ends.dedup();
    for &id in &ends {
        // A byte is also text; whatever else ends a turn must not be found in what users write.
        let kind = &mut types[id as usize];
        if *kind != TokenType::Byte {
            *kind = TokenType::Control;
        }
    }
    ends
}
