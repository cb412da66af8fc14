//! The byte-level alphabet of GPT-2: every byte has a printable character, so that vocabularies
//! can be stored as text. Printable Latin-1 bytes stand for themselves, the others for U+0100 on.
//! Source: `bytes_to_unicode` in OpenAI's gpt-2 `encoder.py`.

/// The character for each byte.
pub(super) fn alphabet() -> [char; 256] {
    let mut next = 0x100;
    std::array::from_fn(|byte| {
        let byte = byte as u8;
        match byte {
            b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte),
            _ => {
                let character = char::from_u32(next).expect("U+0100..U+0144 are characters");
                next += 1;
                character
            }
        }
    })
}

/// The bytes that `text` stands for. Characters outside the alphabet stand for their own UTF-8:
/// files hold added tokens in plain spelling.
pub(super) fn decode(text: &str, bytes: &mut Vec<u8>) {
    for character in text.chars() {
        match byte_of(character) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

fn byte_of(character: char) -> Option<u8> {
    let code = u32::from(character);
    Some(match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => code as u8,
        0x100..=0x120 => (code - 0x100) as u8, // 0x00..=0x20
        0x121..=0x142 => (code - 0x121 + 0x7F) as u8, // 0x7F..=0xA0
        0x143 => 0xAD,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_own_character_and_comes_back() {
        let alphabet = alphabet();
        assert_eq!(alphabet[usize::from(b' ')], 'Ġ');
        assert_eq!(alphabet[usize::from(b'\n')], 'Ċ');
        for (byte, &character) in alphabet.iter().enumerate() {
            assert_eq!(byte_of(character), Some(byte as u8), "{character:?}");
        }
        let mut bytes = Vec::new();
        decode("Ġhi▁", &mut bytes);
        assert_eq!(bytes, " hi▁".as_bytes());
    }
}
