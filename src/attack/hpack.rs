//! As much of HPACK (RFC 7541) as it takes to send any field, and to read the status of an answer.

/// A block of fields, each spelled out: whatever stands in them (section 6.2.2).
pub(super) fn block(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// The length of a text that is not compressed, as a number with a prefix of seven bits (section 5.1).
fn length(block: &mut Vec<u8>, length: usize) {
    const PREFIX: usize = 127;
    if length < PREFIX {
        block.extend(u8::try_from(length));
        return;
    }
    block.push(127);
    let mut rest = length - PREFIX;
    while rest >= 128 {
        block.extend(u8::try_from(rest % 128 + 128));
        rest /= 128;
    }
    block.extend(u8::try_from(rest));
}

/// The status that the block of an answer begins with: it stands before all other fields.
pub(super) fn status(block: &[u8]) -> Option<u16> {
    // The static table (appendix A) has some whole, from 8 on.
    const KNOWN: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    let mut rest = block;
    // A change of the size of the table (section 6.3).
    while let [first @ 0x20..=0x3f, behind @ ..] = rest {
        rest = behind;
        if first & 0x1f == 0x1f {
            while let [more, behind @ ..] = rest {
                rest = behind;
                if *more < 128 {
                    break;
                }
            }
        }
    }
    match rest {
        [whole @ 0x88..=0x8e, ..] => KNOWN.get(usize::from(whole - 0x88)).copied(),
        // With the name of 8 to 14, and a value: with or without an index.
        [0x48..=0x4e | 0x08..=0x0e | 0x18..=0x1e, length, value @ ..] => {
            let text = value.get(..usize::from(length & 0x7f))?;
            let digits = if *length < 128 { text.to_vec() } else { huffman(text)? };
            std::str::from_utf8(&digits).ok()?.parse().ok()
        }
        _ => None,
    }
}

/// Digits in the code of appendix B: three have five bits, the others six.
fn huffman(text: &[u8]) -> Option<Vec<u8>> {
    let bits: Vec<u8> =
        text.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let number = |bits: &[u8]| bits.iter().fold(0, |number, bit| number << 1 | bit);
    let (mut digits, mut rest) = (Vec::new(), &*bits);
    while rest.len() >= 5 {
        let short = number(&rest[..5]);
        if short < 3 {
            digits.push(b'0' + short);
            rest = &rest[5..];
            continue;
        }
        match rest.get(..6).map(number) {
            Some(long @ 0x19..=0x1f) => digits.push(b'3' + long - 0x19),
            // Ones fill up the last byte.
            _ if rest.len() < 8 => return Some(digits),
            _ => return None,
        }
        rest = &rest[6..];
    }
    Some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_in_every_form() {
        let rows: &[(&[u8], Option<u16>)] = &[
            (&[0x88, 0x5f], Some(200)),
            (&[0x8c], Some(400)),
            (&[0x8d], Some(404)),
            (&[0x20, 0x8e], Some(500)),
            (&[0x3f, 0xe1, 0x1f, 0x88], Some(200)),
            (&[0x48, 3, b'4', b'2', b'1'], Some(421)),
            (&[0x08, 3, b'4', b'0', b'3'], Some(403)),
            // RFC 7541, C.6.1: `302`.
            (&[0x48, 0x82, 0x64, 0x02], Some(302)),
            // RFC 7541, C.6.2: `307`.
            (&[0x48, 0x83, 0x64, 0x0e, 0xff], Some(307)),
            (&[0x48], None),
            (&[0x48, 3, b'4'], None),
            (&[0x40, 1, b'a', 1, b'b'], None),
            (&[], None),
        ];
        for (block, wanted) in rows {
            assert_eq!(status(block), *wanted, "{block:02x?}");
        }
    }

    #[test]
    fn fields_are_spelled_out() {
        let long = vec![b'a'; 1337];
        let spelled = block(&[(b":path".to_vec(), b"/".to_vec()), (b"x".to_vec(), long.clone())]);
        assert_eq!(spelled[..9], *b"\0\x05:path\x01/");
        // RFC 7541, C.1.2, has 1337 with a prefix of five bits; here it is seven.
        assert_eq!(spelled[9..15], [0, 1, b'x', 127, 0xba, 0x09]);
        assert_eq!(spelled[15..], long);
    }
}
