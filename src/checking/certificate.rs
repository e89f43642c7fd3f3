//! When a certificate ends: the one thing that the TLS library does not tell of a good one. Pure.

use std::time::Duration;

/// The end of a certificate's life since the Unix epoch, of its DER (RFC 5280 §4.1); none of what is not one.
pub(super) fn not_after(der: &[u8]) -> Option<Duration> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (tbs, _) = element(certificate, SEQUENCE)?;
    // The version has a default, and may be left out.
    let rest = element(tbs, VERSION).map_or(tbs, |(_, rest)| rest);
    let (_serial, rest) = element(rest, INTEGER)?;
    let (_signature, rest) = element(rest, SEQUENCE)?;
    let (_issuer, rest) = element(rest, SEQUENCE)?;
    let (validity, _) = element(rest, SEQUENCE)?;
    let (_not_before, rest) = time(validity)?;
    time(rest).map(|(at, _)| at)
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The content of the first element, if it has this tag, and what comes after it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        ..=0x7f => (usize::from(*length), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length - 0x80))?;
            (digits.iter().fold(0, |length, digit| length * 256 + usize::from(*digit)), rest)
        }
        _ => return None,
    };
    if *first == tag { rest.split_at_checked(length) } else { None }
}

/// `YYMMDDHHMMSSZ` up to 2049, `YYYYMMDDHHMMSSZ` after (RFC 5280 §4.1.2.5).
fn time(der: &[u8]) -> Option<(Duration, &[u8])> {
    let (text, rest, century) = match element(der, UTC_TIME) {
        Some((text, rest)) => {
            (text, rest, text.first().map(|decade| if *decade < b'5' { "20" } else { "19" })?)
        }
        None => element(der, GENERALIZED_TIME).map(|(text, rest)| (text, rest, ""))?,
    };
    let text = format!("{century}{}", std::str::from_utf8(text).ok()?);
    let digits = text.strip_suffix('Z').filter(|digits| digits.len() == 14)?;
    let part = |from: usize, to: usize| digits.get(from..to);
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    let at: jiff::Timestamp = format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z").parse().ok()?;
    let at = at.as_second();
    Some((Duration::from_secs(u64::try_from(at).unwrap_or_default()), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate that ends at the beginning of this year.
    fn ending(year: i32) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_is_read_in_both_forms_of_time() {
        for (year, at) in
            [(1999, 915_148_800), (2001, 978_307_200), (2049, 2_493_072_000), (2050, 2_524_608_000)]
        {
            assert_eq!(not_after(&ending(year)), Some(Duration::from_secs(at)), "{year}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let whole = ending(2050);
        for cut in 0..whole.len() {
            assert!(not_after(&whole[..cut]).is_none() || cut > 100);
            let mut odd = whole.clone();
            odd[cut] ^= 0x81;
            let _whatever = not_after(&odd);
        }
        assert_eq!(not_after(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
