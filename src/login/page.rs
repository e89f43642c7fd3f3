//! The page that a browser ends on: ours, plain, and with nothing from anywhere else.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::LoginError;
use crate::grant::Params;

/// The look; the policy allows this text and no other.
const STYLE: &str = "\
:root{color-scheme:light dark;--line:#d0d7de;--good:#1a7f37;--bad:#cf222e;--soft:#57606a;--back:#f6f8fa}\
@media(prefers-color-scheme:dark){:root{--line:#3d444d;--good:#4ac26b;--bad:#ff7b72;--soft:#9ea7b3;--back:#161b22}}\
body{font:1rem/1.6 system-ui,sans-serif;margin:0;padding:12vh 1rem 2rem}\
main{max-width:38rem;margin:0 auto}\
h1{font-size:1.5rem;line-height:1.3;margin:0 0 1.25rem;padding-left:.9rem;border-left:.3rem solid var(--good)}\
h1.bad{border-color:var(--bad)}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.35rem 1.25rem;margin:0 0 1.5rem;padding:1rem;\
background:var(--back);border:1px solid var(--line);border-radius:.5rem}\
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}\
code{font:0.95em ui-monospace,monospace;overflow-wrap:anywhere}\
p{margin:0 0 .8rem}h2{font-size:1rem;margin:0 0 .4rem}ul{margin:0;padding-left:1.2rem}\
@media(max-width:30rem){dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.5rem}}";

/// `Content-Security-Policy`.
pub(super) fn policy() -> String {
    let digest = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// What the browser is shown, and whether it is what the person hoped for.
#[derive(Clone, Debug)]
pub(super) struct Page(pub(super) String);

/// It worked, and all that it brought is kept.
pub(super) fn signed_in(params: &Params, scopes: &[String], next: &[String]) -> Page {
    let title = "Signed in — you can close this tab";
    page(
        title,
        "",
        &html! {
            dl {
                dt { "Client" } dd { code { (params.client_id) } }
                dt { "Signed in at" } dd { (params.server.identity()) }
                dt { "Scopes" }
                dd {
                    @if scopes.is_empty() { "as the server gives them" } @else { code { (scopes.join(" ")) } }
                }
            }
            @if !next.is_empty() {
                h2 { "Next, in the terminal" }
                ul { @for line in next { li { code { (line) } } } }
            }
        },
    )
}

/// It did not.
pub(super) fn failed(error: &LoginError, command: &str) -> Page {
    page(
        "Not signed in — go back to the terminal",
        "bad",
        &html! {
            p { (error.sentence) }
            dl { dt { "Code" } dd { code { (error.code) } } }
            h2 { "Next, in the terminal" }
            ul { li { code { (command) } " signs in again." } }
        },
    )
}

/// For whoever came without an answer.
pub(super) fn notice(title: &str, text: &str) -> Page {
    page(title, "bad", &html! { p { (text) } })
}

fn page(title: &str, class: &str, content: &Markup) -> Page {
    let whole = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 class=(class) { (title) }
                    (content)
                }
            }
        }
    };
    Page(whole.into_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::tests::params;
    use crate::login::{Code, Outcome};

    #[test]
    fn what_a_stranger_says_is_text_on_the_page_and_nothing_else() {
        let error = LoginError::new(Outcome::SignIn, Code::SignInDenied, "<script>alert('1')</script>\" &");
        let Page(text) = failed(&error, "bearerd login");
        assert!(
            text.contains("&lt;script&gt;alert('1')&lt;/script&gt;") && !text.contains("<script"),
            "{text}"
        );
        let params = Params { client_id: "<img src=x>".to_owned(), ..params() };
        let Page(text) = signed_in(&params, &["<b>".to_owned()], &["<i>".to_owned()]);
        assert!(!text.contains("<img") && !text.contains("<b>") && !text.contains("<i>"), "{text}");
    }

    #[test]
    fn a_page_needs_nothing_from_anywhere_and_says_what_is_next() {
        let Page(text) = signed_in(&params(), &["openid".to_owned()], &["bearerd run".to_owned()]);
        assert!(
            text.contains("<title>Signed in — you can close this tab</title>")
                && text.contains("bearerd run")
        );
        for outside in ["src=", "href=", "url(", "@import", "<link", "<script"] {
            assert!(!text.contains(outside), "{outside}");
        }
        let digest = STANDARD.encode(digest(
            &SHA256,
            text.split("<style>").nth(1).unwrap().split("</style>").next().unwrap().as_bytes(),
        ));
        assert!(policy().contains(&digest), "the style that is shown is the one that is allowed");
    }
}
