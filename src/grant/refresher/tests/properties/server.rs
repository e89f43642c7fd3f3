//! A model authorization server: it keeps the truth about every refresh token, and answers as the schedule has it.

use std::collections::VecDeque;
use std::fmt;

use http::{HeaderMap, HeaderValue, StatusCode};

use super::events::{Life, Mishap, Oddity, Profile, Rotation};
use super::*;

/// A refresh token, by the sign-in that it comes from and its place in the line of successors: a later one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Token {
    pub(super) family: u32,
    pub(super) place: u32,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "R{}.{}", self.family, self.place)
    }
}

impl Token {
    pub(super) fn read(text: &str) -> Self {
        let (family, place) = text.strip_prefix('R').and_then(|rest| rest.split_once('.')).unwrap();
        Self { family: family.parse().unwrap(), place: place.parse().unwrap() }
    }

    pub(super) fn of(token: &RefreshToken) -> Self {
        Self::read(token.expose())
    }
}

/// What the server makes of a refresh token.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    Granted { access: u64, successor: Option<Token> },
    Refused,
}

/// The server.
pub(super) struct Server {
    profile: Profile,
    rotation: Rotation,
    pub(super) life: Life,
    families: Vec<Family>,
    redeems: u32,
    access: u64,
    pub(super) next: VecDeque<Mishap>,
    pub(super) every: Option<Mishap>,
}

#[derive(Default)]
struct Family {
    /// The place of the token that is good.
    good: u32,
    rotated: Duration,
    is_revoked: bool,
}

impl Server {
    pub(super) fn new(profile: Profile, rotation: Rotation, life: Life) -> Self {
        Self {
            profile,
            rotation,
            life,
            families: Vec::new(),
            redeems: 0,
            access: 0,
            next: VecDeque::new(),
            every: None,
        }
    }

    /// Somebody signs in; returns the refresh token.
    pub(super) fn sign_in(&mut self) -> Token {
        self.families.push(Family::default());
        self.sign_in_before(0).unwrap()
    }

    /// The refresh token that somebody got so many sign-ins ago.
    pub(super) fn sign_in_before(&self, ago: usize) -> Option<Token> {
        let family = self.families.len().checked_sub(ago + 1)?;
        Some(Token { family: family as u32, place: 0 })
    }

    pub(super) fn sign_ins(&self) -> usize {
        self.families.len()
    }

    /// A family that is revoked from the start.
    pub(super) fn sign_in_in_vain(&mut self) -> Token {
        let token = self.sign_in();
        self.families.last_mut().unwrap().is_revoked = true;
        token
    }

    /// Whether a redeem of this token would be granted.
    pub(super) fn accepts(&self, token: Token, now: Duration) -> bool {
        let Some(family) = self.families.get(token.family as usize) else { return false };
        let in_grace = match self.profile {
            Profile::Grace(seconds) => {
                token.place + 1 == family.good && now < family.rotated + u32::from(seconds) * SECOND
            }
            Profile::Strict | Profile::Forgetful => false,
        };
        !family.is_revoked && (token.place == family.good || in_grace)
    }

    /// Redeems a refresh token: the truth, whatever is told of it.
    pub(super) fn process(&mut self, token: Token, now: Duration) -> Verdict {
        let accepted = self.accepts(token, now);
        let strict = !matches!(self.profile, Profile::Forgetful);
        let Some(family) = self.families.get_mut(token.family as usize) else { return Verdict::Refused };
        if !accepted {
            family.is_revoked |= strict;
            return Verdict::Refused;
        }
        self.redeems += 1;
        self.access += 1;
        let rotates = match self.rotation {
            Rotation::Always => true,
            Rotation::Never => false,
            Rotation::Each(nth) => self.redeems.is_multiple_of(u32::from(nth)),
        };
        if rotates && token.place == family.good {
            family.good += 1;
            family.rotated = now;
        }
        let successor = (token.place != family.good).then_some(Token { place: family.good, ..token });
        Verdict::Granted { access: self.access, successor }
    }
}

/// How long an access token really lives, as far as the answer tells (R9).
pub(super) fn true_life(life: Life) -> Duration {
    match life {
        Life::Seconds(seconds) => Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
        Life::Text(seconds) | Life::Fraction(seconds) => Duration::from_secs(u64::from(seconds)),
        Life::Huge => Duration::from_secs(10 * 365 * 86_400),
        Life::Null | Life::Garbage | Life::Absent => Duration::from_secs(300),
    }
}

fn expires_in(life: Life) -> String {
    match life {
        Life::Seconds(seconds) => format!(r#","expires_in":{seconds}"#),
        Life::Text(seconds) => format!(r#","expires_in":"{seconds}""#),
        Life::Fraction(seconds) => format!(r#","expires_in":{seconds}.0"#),
        Life::Huge => r#","expires_in":1e300"#.to_owned(),
        Life::Null => r#","expires_in":null"#.to_owned(),
        Life::Garbage => r#","expires_in":"soon""#.to_owned(),
        Life::Absent => String::new(),
    }
}

/// The answer that issues `A<access>`.
pub(super) fn issuing(access: u64, successor: Option<Token>, life: Life, oddity: Option<Oddity>) -> Answer {
    let expires_in = expires_in(life);
    let refresh = successor.map_or_else(String::new, |token| format!(r#","refresh_token":"{token}""#));
    let json = |head: &str| format!("{{{head}{refresh}{expires_in}}}");
    let plain = format!(r#""access_token":"A{access}","token_type":"Bearer""#);
    let body = match oddity {
        None => json(&plain),
        Some(Oddity::BadAccessToken) => json(r#""access_token":5,"token_type":"Bearer""#),
        Some(Oddity::NoAccessToken) => json(r#""token_type":"Bearer""#),
        Some(Oddity::WrongType) => json(&format!(r#""access_token":"A{access}","token_type":"mac""#)),
        Some(Oddity::CutAfterRefreshToken) => format!(r#"{{"token_type":"Bearer"{refresh},"access_tok"#),
        Some(Oddity::CutBeforeRefreshToken) => {
            r#"{"access_token":"A","token_type":"Bearer","refr"#.to_owned()
        }
        Some(Oddity::ErrorBeside) => json(r#""error":"server_error""#),
        Some(Oddity::RefusalBeside) => json(r#""error":"bad_refresh_token""#),
        Some(Oddity::RubbishAround) => format!(")]}}'\n{}", json(&plain)),
        Some(Oddity::ByteOrderMark) => format!("\u{feff}{}", json(&plain)),
        Some(Oddity::FormEncoded) => {
            let refresh = successor.map_or_else(String::new, |token| format!("&refresh_token={token}"));
            let seconds = true_life(life).as_secs();
            format!("access_token=A{access}&token_type=bearer{refresh}&expires_in={seconds}")
        }
    };
    let cut = matches!(oddity, Some(Oddity::CutAfterRefreshToken | Oddity::CutBeforeRefreshToken));
    Answer { complete: !cut, ..answer(200, body) }
}

/// An answer of this status.
pub(super) fn answer(status: u16, body: impl Into<Vec<u8>>) -> Answer {
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: zeroize::Zeroizing::new(body.into()),
        complete: true,
    }
}

/// An answer that says when to come back.
pub(super) fn busy(status: u16, after: Option<u16>) -> Answer {
    let mut answer = answer(status, "");
    if let Some(seconds) = after {
        answer.headers.insert(http::header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}
