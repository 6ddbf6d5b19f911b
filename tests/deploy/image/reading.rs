//! What the Dockerfile says, where a build with stand-ins can't tell.

use std::fs;

use super::repository;

/// Its instructions: comments left out, continued lines joined.
fn instructions() -> Vec<(String, String)> {
    let text = fs::read_to_string(repository().join("deploy/Dockerfile")).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    let split = |line: &str| {
        let (word, rest) = line.split_once(' ').unwrap();
        (word.to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    joined.lines().filter(|line| !line.is_empty()).map(split).collect()
}

fn default_of(argument: &str) -> String {
    let instructions = instructions();
    let mut values = instructions.iter().filter_map(|(word, rest)| {
        (word == "ARG").then(|| rest.strip_prefix(argument)?.strip_prefix('=')).flatten()
    });
    values.next().unwrap_or_else(|| panic!("ARG {argument} has no default")).to_owned()
}

#[test]
fn its_bases_can_be_replaced_and_are_of_the_toolchain_and_of_one_debian() {
    let toolchain: toml::Table =
        fs::read_to_string(repository().join("rust-toolchain.toml")).unwrap().parse().unwrap();
    let channel = toolchain["toolchain"]["channel"].as_str().unwrap();
    assert_eq!(default_of("RUST"), format!("docker.io/library/rust:{channel}-slim-trixie"));
    assert_eq!(default_of("RUNTIME"), "gcr.io/distroless/cc-debian13:nonroot", "trixie is 13");
    assert_eq!(default_of("VERSION"), env!("CARGO_PKG_VERSION"));
    let begun: Vec<_> = instructions()
        .into_iter()
        .filter(|(word, _)| word == "FROM")
        .map(|(_, rest)| rest)
        .collect();
    assert_eq!(begun, ["${RUST} AS build", "${RUNTIME}"]);
}

/// There is no shell to run anything with, in the last stage; nor is anything downloaded by it.
#[test]
fn its_last_stage_only_copies() {
    let all = instructions();
    let last = all.iter().rposition(|(word, _)| word == "FROM").unwrap();
    for (word, rest) in &all[last..] {
        match word.as_str() {
            "FROM" | "ARG" | "LABEL" | "WORKDIR" | "USER" | "EXPOSE" | "STOPSIGNAL" => {}
            "COPY" => assert!(rest.starts_with("--from=build "), "{rest}"),
            "ENTRYPOINT" | "CMD" => assert!(rest.starts_with('['), "{rest} would need a shell"),
            _ => panic!("{word} {rest}"),
        }
    }
}

/// A list of what is let in can't forget a secret; one of what is kept out can.
#[test]
fn its_context_is_a_list_of_what_is_let_in() {
    let text = fs::read_to_string(repository().join(".dockerignore")).unwrap();
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(lines.next(), Some("*"));
    for line in lines {
        assert!(line.starts_with('!') && line.len() > 1, "{line}");
    }
}
