//! The table of settings, and the files that these tests make of it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use headwater_core::settings::{Setting, TOKENS, Values, Variables, WORKER};
use serde_json::{Value, json};

/// Compares a file, or its part between two texts, with `made`. `HEADWATER_UPDATE=1` writes the file instead.
#[track_caller]
fn is_made_of_the_table(file: &str, between: Option<(&str, &str)>, made: &str) {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", file].iter().collect();
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let range = match between {
        None => 0..text.len(),
        Some((first, last)) => {
            let start =
                text.find(first).unwrap_or_else(|| panic!("{file} has no {first:?}")) + first.len();
            start
                ..start
                    + text[start..].find(last).unwrap_or_else(|| panic!("{file} has no {last:?}"))
        }
    };
    if text[range.clone()] == *made {
        return;
    }
    if std::env::var_os("HEADWATER_UPDATE").is_some() {
        std::fs::write(path, format!("{}{made}{}", &text[..range.start], &text[range.end..]))
            .unwrap();
        return;
    }
    panic!("{file} is stale: run `npm run settings`");
}

fn rows(table: &[(Setting, &str)]) -> String {
    let mut rows = String::from("\n");
    for (setting, docs) in table {
        let default = match setting.default {
            Some(default) => format!("`{default}`"),
            None => "none".into(),
        };
        writeln!(rows, "| `{}` | {default} |{docs} |", setting.name).unwrap();
    }
    rows
}

#[test]
fn configuration_md_holds_the_table() {
    for (heading, table) in
        [("<!-- the settings -->", WORKER), ("<!-- the settings of tokens -->", TOKENS)]
    {
        let head = format!("{heading}\n| Variable | Default | |\n|---|---|---|");
        is_made_of_the_table(
            "docs/configuration.md",
            Some((&head, "\n\n")),
            rows(table).trim_end(),
        );
    }
}

/// Wraps text into comment lines of TOML.
fn comment(docs: &str) -> String {
    let mut lines = String::from("#");
    let mut length = 1;
    for word in docs.split_whitespace() {
        if length + 1 + word.chars().count() > 118 {
            lines.push_str("\n#");
            length = 1;
        }
        write!(lines, " {word}").unwrap();
        length += 1 + word.chars().count();
    }
    lines
}

/// The text without the targets of its links.
fn without_links(docs: &str) -> String {
    let mut text = String::new();
    let mut rest = docs;
    while let Some((before, label)) = rest.split_once('[') {
        let (label, target) = label.split_once("](").expect("a link");
        text += before;
        text += label;
        rest = target.split_once(')').expect("the end of a link").1;
    }
    text + rest
}

#[test]
fn wrangler_toml_holds_the_settings_with_defaults() {
    let mut vars = String::from("\n");
    for (setting, docs) in WORKER {
        let Some(value) = setting.default else { continue };
        let docs = without_links(docs);
        let mut letters = docs.trim().chars();
        let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
        writeln!(
            vars,
            "{}\n{} = {}",
            comment(&format!("{first}{}.", letters.as_str())),
            setting.name,
            json!(value)
        )
        .unwrap();
    }
    let begin = "# Generated from core/src/settings.rs by `npm run settings`. docs/configuration.md has the other settings.\n[vars]";
    is_made_of_the_table("wrangler.toml", Some((begin, "\n\n")), vars.trim_end());
}

#[test]
fn settings_json_holds_the_table_for_scripts() {
    let row = |section: &'static str| {
        move |(setting, _): &(Setting, &str)| {
            let (kind, values): (&str, Value) = match setting.values {
                Values::Text => ("text", Value::Null),
                Values::Secret => ("secret", Value::Null),
                Values::List => ("list", Value::Null),
                Values::OneOf(values) => ("one-of", json!(values)),
                Values::Number { at_most } => ("number", json!(at_most)),
            };
            let mut row = json!({ "name": setting.name, "section": section, "kind": kind });
            for (key, value) in [
                ("default", json!(setting.default)),
                (if kind == "one-of" { "values" } else { "atMost" }, values),
            ] {
                if !value.is_null() {
                    row[key] = value;
                }
            }
            row.to_string()
        }
    };
    let rows: Vec<String> =
        WORKER.iter().map(row("worker")).chain(TOKENS.iter().map(row("tokens"))).collect();
    is_made_of_the_table(
        "scripts/lib/settings.json",
        None,
        &format!("[\n  {}\n]\n", rows.join(",\n  ")),
    );
}

struct Set(HashMap<&'static str, &'static str>);

impl Variables for Set {
    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).map(std::string::ToString::to_string)
    }
}

#[test]
fn every_default_is_a_valid_value() {
    let nothing = Set(HashMap::new());
    for (setting, _) in WORKER.iter().chain(TOKENS) {
        match setting.values {
            Values::Number { .. } => {
                assert!(setting.number::<u64>(&nothing).is_ok(), "{}", setting.name);
            }
            Values::OneOf(_) => assert!(setting.one_of(&nothing).is_ok(), "{}", setting.name),
            Values::List => assert!(setting.list(&nothing).unwrap().is_empty(), "{}", setting.name),
            Values::Text | Values::Secret => {}
        }
    }
}

#[test]
fn a_wrong_value_is_refused_with_the_setting_the_value_and_the_rule() {
    use headwater_core::settings::{ALLOWED_HEADERS, LOG_REQUESTS, SEGMENT_BYTES, SEGMENT_EVENTS};
    let detail = |setting: Setting, value: &'static str| {
        let set = Set(HashMap::from([(setting.name, value)]));
        let problem = match setting.values {
            Values::Number { .. } => setting.number::<u64>(&set).map(drop),
            Values::OneOf(_) => setting.one_of(&set).map(drop),
            _ => setting.list(&set).map(drop),
        };
        problem.map_err(|problem| problem.detail)
    };
    let wrong = |detail: &str| Err(detail.to_string());
    for value in ["0", "-1", "1MB", "1.5", " 1", "18446744073709551616"] {
        let expected =
            format!("SEGMENT_EVENTS is {value:?}, but must be a whole number, 1 or more.");
        assert_eq!(detail(SEGMENT_EVENTS, value), wrong(&expected));
    }
    assert_eq!(detail(SEGMENT_EVENTS, ""), Ok(()), "an empty value is refused");
    assert_eq!(detail(SEGMENT_BYTES, "4194304"), Ok(()));
    assert_eq!(
        detail(SEGMENT_BYTES, "4194305"),
        wrong("SEGMENT_BYTES is \"4194305\", but may be at most 4194304.")
    );
    assert_eq!(
        detail(LOG_REQUESTS, "some"),
        wrong("LOG_REQUESTS is \"some\", but must be all, errors or none.")
    );
    assert_eq!(detail(ALLOWED_HEADERS, "a, b"), Ok(()));
    assert!(
        detail(ALLOWED_HEADERS, "a,")
            .unwrap_err()
            .starts_with("ALLOWED_HEADERS is \"a,\", but must be a list")
    );
}
