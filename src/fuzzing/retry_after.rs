//! `Retry-After` as the first line, `Date` as the second.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};

use crate::grant::Dpop;
use crate::grant::error::Class;
use crate::grant::schedule::LONGEST_RETRY_AFTER;
use crate::grant::wire::{Answer, Told, read};

/// What holds of what a busy server says about later.
///
/// # Panics
/// Where something does not hold.
pub fn retry_after(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut headers = HeaderMap::new();
    for (name, value) in ["retry-after", "date"].into_iter().zip(text.lines()) {
        if let Ok(value) = HeaderValue::from_str(value.trim()) {
            headers.insert(name, value);
        }
    }
    let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let date = |name: &str| httpdate::parse_http_date(said(name)?).ok();
    let expected = match said("retry-after").map(seconds) {
        Some(Some(seconds)) => Some(seconds),
        _ => date("retry-after")
            .zip(date("date"))
            .map(|(at, sent)| at.duration_since(sent).unwrap_or_default()),
    };
    for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE] {
        let body = zeroize::Zeroizing::new(b"{\"error\":\"invalid_grant\"}".to_vec());
        let answer = Answer { status, headers: headers.clone(), body, complete: true };
        let class = read(&answer, Told::default(), Dpop::Off).expect_err("it is an error").class;
        assert_eq!(class, Class::Busy { retry_after: expected.map(|span| span.min(LONGEST_RETRY_AFTER)) });
    }
}

/// `delay-seconds` (RFC 9110 §10.2.3), which may be larger than any number of ours.
fn seconds(text: &str) -> Option<Duration> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().map_or(Duration::MAX, Duration::from_secs))
}
