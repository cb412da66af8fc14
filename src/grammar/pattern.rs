//! Patterns of a schema, in a spelling that the library quotes for JSON as it should.
//!
//! derivre 0.3.13 takes a class that has every control character for one that has every byte, or
//! every byte but the line break, and lets `\"` and `\\` through though neither is in the class
//! (`quote_all_ctrl`). A class without U+0000 is none of these, and since strings write no `\u`
//! escapes, U+0000 is in no answer anyway.
//!
//! Promises: matches the same texts but for U+0000; what is no regular expression stays as it is.
//! Never knows: what the pattern is for.

/// The pattern with U+0000 taken out of each class.
pub(super) fn without_null(pattern: &str) -> String {
    let mut written = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let (len, is_class) = match first {
            '[' => (class_len(rest), true),
            '\\' => escape_len(rest),
            other => (other.len_utf8(), false),
        };
        let (part, after) = rest.split_at(len);
        match is_class {
            true => written.extend(["[", part, r"&&[^\x00]]"]),
            false => written.push_str(part),
        }
        rest = after;
    }
    written
}

/// The length of the class that `text` begins with; all of it if that does not end.
fn class_len(text: &str) -> usize {
    let mut depth = 0;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let mut len = first.len_utf8();
        match first {
            '\\' => len = escape_len(rest).0,
            '[' => {
                depth += 1;
                // A bracket that closes is itself where nothing comes before it.
                len += usize::from(rest[len..].starts_with('^'));
                len += usize::from(rest[len..].starts_with(']'));
            }
            ']' => depth -= 1,
            _ => {}
        }
        rest = &rest[len..];
        if depth == 0 {
            break;
        }
    }
    text.len() - rest.len()
}

/// The length of the escape that `text` begins with, and whether it stands for a class that may
/// have all control characters: `\p{..}` or `\P{..}`. (`\S`, `\W` and `\D` have the quotes too.)
fn escape_len(text: &str) -> (usize, bool) {
    let mut characters = text.char_indices().skip(1);
    let Some((at, kind)) = characters.next() else { return (text.len(), false) };
    let len = at + kind.len_utf8();
    if !matches!(kind, 'p' | 'P') {
        return (len, false);
    }
    match characters.next() {
        Some((_, '{')) => (text.find('}').map_or(text.len(), |end| end + 1), true),
        Some((at, letter)) => (at + letter.len_utf8(), true),
        None => (len, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_lose_the_null() {
        for (pattern, expected) in [
            ("", ""),
            ("^a{2}$", "^a{2}$"),
            ("[a-z]+", r"[[a-z]&&[^\x00]]+"),
            ("^[^\"]*$", "^[[^\"]&&[^\\x00]]*$"),
            // Closing brackets that are themselves, and opening ones.
            ("[^]a]b]", r"[[^]a]&&[^\x00]]b]"),
            ("[]]", r"[[]]&&[^\x00]]"),
            (r"[^\]a]b", r"[[^\]a]&&[^\x00]]b"),
            (r"\[^a]", r"\[^a]"),
            (r"\\[^a]", r"\\[[^a]&&[^\x00]]"),
            ("[a[^b]c]d", r"[[a[^b]c]&&[^\x00]]d"),
            ("[[:^alpha:]x][y]", r"[[[:^alpha:]x]&&[^\x00]][[y]&&[^\x00]]"),
            // Classes with names.
            (r"\P{P}\pLx", r"[\P{P}&&[^\x00]][\pL&&[^\x00]]x"),
            (r"[^\p{P}]", r"[[^\p{P}]&&[^\x00]]"),
            (r"\d\W.", r"\d\W."),
            ("é[é]", r"é[[é]&&[^\x00]]"),
        ] {
            assert_eq!(without_null(pattern), expected, "{pattern}");
        }
        // What does not end is the library's to refuse.
        for pattern in ["[", "[^", "[a", r"[\", r"\", r"\p", r"\p{", "[[a]", "é[é"] {
            without_null(pattern);
        }
    }
}
