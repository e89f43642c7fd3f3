//! A page for a terminal: plain text, wrapped.
//!
//! The pages keep to what this reads: headings, paragraphs, lists one level deep, fenced blocks, tables, links.

/// A page as plain text, no line longer than `width` but for those of blocks.
#[must_use]
pub fn plain(page: &str, width: usize) -> String {
    let mut shown = Vec::new();
    let mut open: Option<Part<'_>> = None;
    let mut in_block = false;
    for line in page.lines() {
        if line.starts_with("```") {
            end(&mut open, &mut shown, width);
            in_block = !in_block;
        } else if in_block {
            shown.push(if line.is_empty() { String::new() } else { format!("    {line}") });
        } else if let Some(heading) = line.strip_prefix('#') {
            end(&mut open, &mut shown, width);
            shown.push(heading.trim_start_matches('#').trim().replace('`', ""));
        } else if let Some(row) = line.strip_prefix('|') {
            end(&mut open, &mut shown, width);
            match cells(row) {
                cells if cells.iter().all(|cell| is_rule(cell)) => {}
                cells => entry(&cells, &mut shown, width),
            }
        } else if line.trim().is_empty() {
            end(&mut open, &mut shown, width);
            shown.push(String::new());
        } else if let Some(mark) = mark(line) {
            end(&mut open, &mut shown, width);
            open = Some(Part { mark, text: line.get(mark.len()..).unwrap_or_default().to_owned() });
        } else {
            let part = open.get_or_insert(Part { mark: "", text: String::new() });
            part.text.push(' ');
            part.text.push_str(line.trim());
        }
    }
    end(&mut open, &mut shown, width);
    shown.join("\n").trim_end().to_owned()
}

/// The cells of a row of a table, without what is around them.
fn cells(row: &str) -> Vec<String> {
    let row = row.trim_end().trim_end_matches('|').replace("\\|", "\0");
    row.split('|').map(|cell| unlinked(&cell.replace('\0', "|")).trim().to_owned()).collect()
}

/// Whether it is of the line between a table's head and its rows.
fn is_rule(cell: &str) -> bool {
    !cell.is_empty() && cell.bytes().all(|byte| b"-: ".contains(&byte))
}

/// A row as an entry: its first cell, and the others below it, since no terminal is as wide as a table.
fn entry(cells: &[String], shown: &mut Vec<String>, width: usize) {
    for (at, cell) in cells.iter().enumerate().filter(|(_, cell)| !cell.is_empty()) {
        let indent = if at == 0 { 2 } else { 6 };
        let lines = wrapped(cell, width.saturating_sub(indent));
        shown.extend(lines.into_iter().map(|line| format!("{}{line}", " ".repeat(indent))));
    }
}

/// A paragraph, or an entry of a list with its mark.
struct Part<'a> {
    mark: &'a str,
    text: String,
}

/// What an entry of a list begins with, as in `- ` or `2. `.
fn mark(line: &str) -> Option<&str> {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let rest = line.get(digits..)?;
    let length = match digits {
        0 if rest.starts_with("- ") => 2,
        1.. if rest.starts_with(". ") => digits + 2,
        _ => return None,
    };
    line.get(..length)
}

fn end(open: &mut Option<Part<'_>>, shown: &mut Vec<String>, width: usize) {
    let Some(Part { mark, text }) = open.take() else { return };
    let text = unlinked(text.trim());
    // Headings stand at the margin; what belongs to them, and entries more so, stands off it.
    let mut lead = format!("  {mark}");
    let indent = lead.len();
    for line in wrapped(&text, width.saturating_sub(indent)) {
        shown.push(format!("{lead}{line}"));
        lead = " ".repeat(indent);
    }
}

/// A link as its text, with the address behind it if it leads into the web.
fn unlinked(text: &str) -> String {
    let mut rest = text;
    let mut shown = String::new();
    while let Some((before, (name, (address, after)))) = rest.split_once('[').and_then(|(before, link)| {
        Some((before, link.split_once("](").and_then(|(name, link)| Some((name, link.split_once(')')?)))?))
    }) {
        shown.push_str(before);
        shown.push_str(name);
        if address.starts_with("http") {
            shown.push_str(&format!(" ({address})"));
        }
        rest = after;
    }
    shown.push_str(rest);
    shown.replace("**", "")
}

/// The words of a text in lines no longer than `width`, if no word is.
#[must_use]
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_a_table_is_an_entry() {
        let page = "Text\n\n| a | b |\n|---|:-:|\n| one | two three four |\n| [x](y.md) | `p\\|q` |\n";
        assert_eq!(
            plain(page, 16),
            "  Text\n\n  a\n      b\n  one\n      two three\n      four\n  x\n      `p|q`"
        );
    }

    #[test]
    fn a_page_is_wrapped_and_its_blocks_are_not() {
        let page = "# `a_code`\n\nOne two three\nfour [five](x.md) [six](https://h).\n\n1. first entry\n   goes on\n2. second\n\n```text\n a  line that is longer than all\n```\n";
        let expected = "a_code\n\n  One two three\n  four five six\n  (https://h).\n\n  1. first entry\n     goes on\n  2. second\n\n     a  line that is longer than all";
        assert_eq!(plain(page, 16), expected);
    }
}
