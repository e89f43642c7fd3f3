//! gzip, as small as can be: one block of literals in the fixed code (RFC 1951 §3.2.6), so that no text shows through.

/// Codes `bytes`.
pub(super) fn of(bytes: &[u8]) -> Vec<u8> {
    let mut coded = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut bits = Bits::default();
    bits.push(0b1, 1); // the last block
    bits.push(0b10, 2); // of the fixed code: 01, whose lower bit goes first
    for byte in bytes {
        match *byte {
            literal @ 0..=143 => bits.push(0x30 + u16::from(literal), 8),
            literal => bits.push(0x190 + u16::from(literal - 144), 9),
        }
    }
    bits.push(0, 7); // the end of the block
    coded.extend(bits.bytes);
    coded.extend(crc32(bytes).to_le_bytes());
    coded.extend((bytes.len() as u32).to_le_bytes());
    coded
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    filled: u32,
}

impl Bits {
    /// Adds the `count` lowest bits of a code, the highest first; each byte is filled from its lowest bit.
    fn push(&mut self, code: u16, count: u32) {
        for at in (0..count).rev() {
            if self.filled.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let bit = (code >> at & 1) as u8;
            *self.bytes.last_mut().unwrap() |= bit << (self.filled % 8);
            self.filled += 1;
        }
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 },
        )
    };
    !bytes.iter().fold(!0, step)
}
