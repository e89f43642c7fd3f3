//! One connection: reads requests, remembers them, has them processed, and lets faults happen.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bearerd::clock::Moment;
use serde_json::json;

use super::exchange::{ClientAuth, Endpoint, Exchange, Stage};
use super::fault::{Fault, Phase};
use super::oddities::Issued;
use super::options::Profile;
use super::{Shared, authgear, now, strict};
use crate::support::background::Wire;
use crate::support::http::{self, Answer, Ends, Head, Inbound, NoBody};

/// The longest body that is read: what Authgear reads.
const LONGEST_BODY: usize = 1 << 20;

/// Bytes that no HTTP client can take for an answer.
const GARBAGE: &[u8] = b"\x16\x03\x00\xff\xfe\x00garbage\r\n\x80\x81\r\n\r\n\x00\x00";

/// A request as the profiles see it.
pub(super) struct Request<'a> {
    pub(super) head: &'a Head,
    /// None when it was too large to be read.
    pub(super) body: Option<&'a [u8]>,
    pub(super) peer: IpAddr,
    /// The certificate that the client has shown, in DER.
    pub(super) certificate: Option<&'a [u8]>,
}

/// What processing came to.
pub(super) struct Processed {
    pub(super) answer: Answer,
    pub(super) access_token: Option<String>,
    pub(super) refresh_token: Option<String>,
    pub(super) rotated_at: Option<Moment>,
}

impl From<Answer> for Processed {
    fn from(answer: Answer) -> Self {
        Self { answer, access_token: None, refresh_token: None, rotated_at: None }
    }
}

/// Whether the connection lives on.
#[derive(PartialEq, Eq)]
enum Then {
    Next,
    End,
}

/// Serves requests until either side has enough.
pub(super) async fn serve(shared: &Shared, wire: Wire, peer: IpAddr) {
    let certificate = wire.certificate();
    let mut inbound = Inbound::new(wire);
    let connection = shared.change(|state| {
        state.connections += 1;
        state.connections - 1
    });
    while let Some(head) = inbound.head().await {
        let (body, whole) = match inbound.body(&head, Ends::Framed, LONGEST_BODY).await {
            Ok(body) => (body, true),
            Err(NoBody::TooLarge) => (Vec::new(), false),
            Err(NoBody::Broken) => return,
        };
        let number = remember(shared, connection, head.clone(), body.clone());
        let body = whole.then_some(body.as_slice());
        let request = Request { head: &head, body, peer, certificate: certificate.as_deref() };
        if exchange(shared, &mut inbound, &request, number).await == Then::End {
            return;
        }
    }
}

fn remember(shared: &Shared, connection: usize, head: Head, body: Vec<u8>) -> usize {
    let form = http::form(&String::from_utf8_lossy(&body));
    let client_auth = client_auth(&head, &form);
    let endpoint = match head.path() {
        path if path.starts_with("/.well-known/") => Endpoint::Discovery,
        strict::TOKEN | authgear::TOKEN => Endpoint::Token,
        strict::AUTHORIZE | authgear::AUTHORIZE => Endpoint::Authorization,
        strict::PAR => Endpoint::Pushed,
        strict::DEVICE_AUTHORIZATION => Endpoint::Device,
        strict::REVOKE | authgear::REVOKE => Endpoint::Revocation,
        _ => Endpoint::Other,
    };
    shared.change(|state| {
        let number = state.log.len();
        state.log.push(Exchange {
            number,
            connection,
            received: now(),
            head,
            body,
            form,
            client_auth,
            endpoint,
            fault: None,
            stage: Stage::Received,
            status: None,
            answer: Vec::new(),
            access_token: None,
            refresh_token: None,
            rotated_at: None,
            written: 0,
            last_byte_at: None,
        });
        number
    })
}

/// How the client says who it is.
pub(super) fn client_auth(head: &Head, form: &[(String, String)]) -> ClientAuth {
    let parameter = |name: &str| form.iter().find(|(given, _)| given == name).map(|(_, value)| value.clone());
    if let Some((id, secret)) = basic(head) {
        return ClientAuth::Basic(http::form_decode(&id), http::form_decode(&secret));
    }
    if let Some(assertion) = parameter("client_assertion") {
        return ClientAuth::Assertion(assertion);
    }
    match (parameter("client_id"), parameter("client_secret")) {
        (Some(id), Some(secret)) => ClientAuth::Post(id, secret),
        (Some(id), None) => ClientAuth::Public(id),
        (None, _) => ClientAuth::Absent,
    }
}

/// Identifier and secret of HTTP Basic, still form-encoded as RFC 6749 §2.3.1 wants it.
pub(super) fn basic(head: &Head) -> Option<(String, String)> {
    let (scheme, encoded) = head.header("authorization")?.split_once(' ')?;
    let decoded = STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (id, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

async fn exchange(
    shared: &Shared,
    inbound: &mut Inbound<Wire>,
    request: &Request<'_>,
    number: usize,
) -> Then {
    let endpoint = shared.state().log[number].endpoint;
    let due = shared.change(|state| state.faults.next(endpoint));
    shared.note(number, |exchange| exchange.fault = due);
    let (before, after) = match due {
        Some((fault, Phase::BeforeProcessing)) => (Some(fault), None),
        Some((fault, Phase::AfterProcessing)) => (None, Some(fault)),
        None => (None, None),
    };
    if before == Some(Fault::Hang) && !held(shared, inbound, number).await {
        return Then::End;
    }
    let processed = match before {
        None | Some(Fault::Hang) => process(shared, request).await,
        Some(fault) => instead(shared, fault).into(),
    };
    let answer = after.and_then(|fault| error_for(shared, fault)).unwrap_or(processed.answer);
    shared.note(number, |exchange| {
        exchange.status = Some(answer.status);
        exchange.answer = answer.body.clone();
        exchange.access_token = processed.access_token;
        exchange.refresh_token = processed.refresh_token;
        exchange.rotated_at = processed.rotated_at;
    });
    if after == Some(Fault::Hang) && !held(shared, inbound, number).await {
        return Then::End;
    }
    deliver(shared, inbound, request.head, &answer, before.or(after), number).await
}

async fn process(shared: &Shared, request: &Request<'_>) -> Processed {
    match shared.options.profile {
        Profile::Strict => strict::answer(shared, request),
        Profile::Authgear => authgear::answer(shared, request).await,
    }
}

/// Holds a request back; whether its client is still there when the test releases it.
async fn held(shared: &Shared, inbound: &mut Inbound<Wire>, number: usize) -> bool {
    let mut released = shared.released.subscribe();
    shared.note(number, |exchange| exchange.stage = Stage::Held);
    let stayed = tokio::select! {
        biased;
        () = inbound.gone() => false,
        _ = released.changed() => true,
    };
    let stage = if stayed { Stage::Received } else { Stage::Abandoned };
    shared.note(number, |exchange| exchange.stage = stage);
    stayed
}

/// The answer that a fault is, if it is one.
fn error_for(shared: &Shared, fault: Fault) -> Option<Answer> {
    if fault == Fault::Forbidden {
        let page = "<!DOCTYPE html><title>Blocked</title><h1>This request was blocked</h1>\n";
        return Some(Answer::new(403, page).with("Content-Type", "text/html; charset=utf-8"));
    }
    let answer = match shared.options.profile {
        Profile::Strict => strict::error_for(fault),
        Profile::Authgear => authgear::error_for(shared, fault),
    }?;
    Some(match fault {
        Fault::TooManyRequests(Some(seconds)) | Fault::Unavailable(Some(seconds)) => {
            answer.with("Retry-After", seconds.to_string())
        }
        _ => answer,
    })
}

/// What a request gets that was not processed: the fault's answer, or one that looks good and names nothing.
fn instead(shared: &Shared, fault: Fault) -> Answer {
    error_for(shared, fault).unwrap_or_else(|| match fault {
        Fault::Truncate(_) => {
            let body = json!({ "padding": "x".repeat(4000) });
            Answer::new(200, body.to_string()).with("Content-Type", "application/json")
        }
        _ => Answer::new(503, "{\"error\":\"temporarily_unavailable\"}")
            .with("Content-Type", "application/json"),
    })
}

async fn deliver(
    shared: &Shared,
    inbound: &mut Inbound<Wire>,
    head: &Head,
    answer: &Answer,
    fault: Option<Fault>,
    number: usize,
) -> Then {
    let mut bytes = answer.head(head);
    let body = answer.framed_body(head);
    let written = match fault {
        Some(Fault::Close) => 0,
        Some(Fault::Reset) => {
            inbound.stream.reset_on_close();
            0
        }
        Some(Fault::Garbage) => write(shared, inbound, GARBAGE, number).await,
        Some(Fault::Truncate(length)) => {
            bytes.extend_from_slice(&body[..length.min(body.len())]);
            write(shared, inbound, &bytes, number).await
        }
        Some(Fault::Odd(_)) => {
            shared.note(number, |exchange| exchange.stage = Stage::Answered);
            write(shared, inbound, &odd(shared, number, fault), number).await;
            return end(inbound).await;
        }
        Some(Fault::Dribble(pause)) => {
            bytes.extend_from_slice(&body);
            return dribble(shared, inbound, &bytes, pause, number).await;
        }
        _ => {
            bytes.extend_from_slice(&body);
            let written = write(shared, inbound, &bytes, number).await;
            let whole = written == bytes.len();
            let stage = if whole { Stage::Answered } else { Stage::Abandoned };
            shared.note(number, |exchange| exchange.stage = stage);
            let keep =
                whole && !answer.close && !head.is_http_1_0() && !head.has_token("connection", "close");
            return if keep { Then::Next } else { end(inbound).await };
        }
    };
    shared.note(number, |exchange| {
        exchange.written = written;
        exchange.stage = Stage::Broken;
    });
    if fault == Some(Fault::Reset) { Then::End } else { end(inbound).await }
}

/// The answer in its odd clothes.
fn odd(shared: &Shared, number: usize, fault: Option<Fault>) -> Vec<u8> {
    let Some(Fault::Odd(oddity)) = fault else { return Vec::new() };
    let exchange = shared.state().log[number].clone();
    let issued = Issued {
        access_token: exchange.access_token.as_deref().unwrap_or_default(),
        refresh_token: exchange.refresh_token.as_deref().or(exchange.presented()).unwrap_or_default(),
    };
    (oddity.answer)(&issued)
}

/// Closes with FIN, and with a closure alert under TLS.
async fn end(inbound: &mut Inbound<Wire>) -> Then {
    let _closed_already = tokio::io::AsyncWriteExt::shutdown(&mut inbound.stream).await;
    Then::End
}

async fn write(shared: &Shared, inbound: &mut Inbound<Wire>, bytes: &[u8], number: usize) -> usize {
    let written = match http::write(&mut inbound.stream, bytes).await {
        Ok(()) => bytes.len(),
        Err(_closed) => 0,
    };
    shared.note(number, |exchange| {
        exchange.written += written;
        exchange.last_byte_at = Some(now());
    });
    written
}

/// A byte at a time; once released, or when the client leaves, no longer.
async fn dribble(
    shared: &Shared,
    inbound: &mut Inbound<Wire>,
    bytes: &[u8],
    pause: std::time::Duration,
    number: usize,
) -> Then {
    let mut released = shared.released.subscribe();
    for (at, byte) in bytes.iter().enumerate() {
        if write(shared, inbound, &[*byte], number).await == 0 {
            shared.note(number, |exchange| exchange.stage = Stage::Abandoned);
            return Then::End;
        }
        let left = tokio::select! {
            biased;
            _ = released.changed() => {
                write(shared, inbound, &bytes[at + 1..], number).await;
                break;
            }
            () = inbound.gone() => true,
            () = tokio::time::sleep(pause) => false,
        };
        if left {
            shared.note(number, |exchange| exchange.stage = Stage::Abandoned);
            return Then::End;
        }
    }
    shared.note(number, |exchange| exchange.stage = Stage::Answered);
    Then::Next
}
