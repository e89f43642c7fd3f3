//! Odd statuses, header fields and framings around a plain body.

use super::Class::Unanswered;
use super::Next::{Lost, Successor};
use super::{Issued, Oddity, framed, gzip, harmless, sent, unusable};

const JSON: &str = "Content-Type: application/json\r\n";

/// With this first line.
fn start(line: &str, issued: &Issued<'_>) -> Vec<u8> {
    sent(line, JSON, issued.json())
}

/// With these header lines.
fn headers(lines: &str, issued: &Issued<'_>) -> Vec<u8> {
    sent("HTTP/1.1 200 OK", lines, issued.json())
}

/// In chunks of this size, with what follows each size, and these trailers.
fn chunked(issued: &Issued<'_>, size: usize, extension: &str, trailers: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for chunk in issued.json().as_bytes().chunks(size) {
        body.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
        body.extend_from_slice(chunk);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
    framed("HTTP/1.1 200 OK", &format!("{JSON}Transfer-Encoding: chunked\r\n"), body)
}

/// After these heads of informational answers.
fn after(informational: &str, issued: &Issued<'_>) -> Vec<u8> {
    let mut bytes = informational.as_bytes().to_vec();
    bytes.extend(start("HTTP/1.1 200 OK", issued));
    bytes
}

/// With a length that is this much more than there is, or less.
fn misjudged(issued: &Issued<'_>, more: isize) -> Vec<u8> {
    let body = issued.json_refresh_token_first();
    let length = body.len().saturating_add_signed(more);
    framed("HTTP/1.1 200 OK", &format!("{JSON}Content-Length: {length}\r\n"), body)
}

pub(super) static ALL: &[Oddity] = &[
    harmless("201", |issued| start("HTTP/1.1 201 Created", issued)),
    harmless("202", |issued| start("HTTP/1.1 202 Accepted", issued)),
    harmless("203", |issued| start("HTTP/1.1 203 Non-Authoritative Information", issued)),
    harmless("206", |issued| start("HTTP/1.1 206 Partial Content", issued)),
    harmless("299", |issued| start("HTTP/1.1 299 Whatever", issued)),
    harmless("no reason", |issued| start("HTTP/1.1 200", issued)),
    harmless("a reason beyond ASCII", |issued| start("HTTP/1.1 200 Tr\u{e8}s bien", issued)),
    harmless("HTTP/1.0", |issued| start("HTTP/1.0 200 OK", issued)),
    harmless("100 before it", |issued| after("HTTP/1.1 100 Continue\r\n\r\n", issued)),
    harmless("103 before it, twice", |issued| {
        after(&"HTTP/1.1 103 Early Hints\r\nLink: </s.css>; rel=preload\r\n\r\n".repeat(2), issued)
    }),
    harmless("no Content-Type", |issued| headers("", issued)),
    harmless("Content-Type of a page", |issued| {
        headers("Content-Type: text/html; charset=utf-8\r\n", issued)
    }),
    harmless("Content-Type of two minds", |issued| {
        headers(&format!("{JSON}Content-Type: text/plain\r\n"), issued)
    }),
    harmless("a charset that is not its own", |issued| {
        headers("Content-Type: application/json; charset=utf-16\r\n", issued)
    }),
    harmless("no WWW-Authenticate to heed", |issued| {
        headers("WWW-Authenticate: Bearer error=\"invalid_token\"\r\nRetry-After: 60\r\n", issued)
    }),
    harmless("a field that is none", |issued| headers("not a field\r\nBad Name: x\r\n: x\r\n", issued)),
    harmless("a field with control characters", |issued| headers("X-Odd: a\x01b\r\n", issued)),
    harmless("99 fields", |issued| headers(&"X-Filler: x\r\n".repeat(98), issued)),
    harmless("500 fields", |issued| headers(&"X-Filler: x\r\n".repeat(499), issued)),
    harmless("a field of 100 KiB", |issued| {
        headers(&format!("X-Long: {}\r\n", "x".repeat(100 << 10)), issued)
    }),
    harmless("lines that end with LF alone", |issued| {
        let bytes = headers(JSON, issued);
        bytes.into_iter().filter(|byte| *byte != b'\r').collect()
    }),
    harmless("one chunk", |issued| chunked(issued, 1 << 20, "", "")),
    harmless("a chunk for each byte", |issued| chunked(issued, 1, "", "")),
    harmless("chunks with extensions and trailers", |issued| {
        chunked(issued, 7, ";sum=\"x\"", "X-Sum: 1\r\n")
    }),
    harmless("neither length nor chunks", |issued| framed("HTTP/1.1 200 OK", JSON, issued.json())),
    // JSON says itself that it is whole.
    harmless("a length that is too long", |issued| misjudged(issued, 10)),
    unusable("a length that is too short", Unanswered, Successor, |issued| misjudged(issued, -10)),
    unusable("gzip, though nobody asked", Unanswered, Lost, |issued| {
        let coded = format!("{JSON}Content-Encoding: gzip\r\n");
        sent("HTTP/1.1 200 OK", &coded, gzip::of(issued.json().as_bytes()))
    }),
    unusable("204", Unanswered, Lost, |issued| start("HTTP/1.1 204 No Content", issued)),
    unusable("two lengths that differ", Unanswered, Lost, |issued| headers("Content-Length: 3\r\n", issued)),
    unusable("a version that is none", Unanswered, Lost, |issued| start("HTTP/9.9 200 OK", issued)),
];
