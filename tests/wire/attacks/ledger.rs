//! Which tests answer for the attacks that one request from outside does not show.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use portcullis::attack::Corpus;

type Tests = &'static [(&'static str, &'static str)];

/// An attack by its number, and its tests: a file, and a function in it. Every one that is no case of the
/// corpus is here, and those cases that have more to them than one request.
const LEDGER: &[(&str, Tests)] = &[
    ("AC-014", &[("tests/wire/attacks/paths.rs", "a_mount_point_is_stripped_after_matching")]),
    ("AC-015", &[("tests/wire/attacks/paths.rs", "a_mount_point_is_stripped_after_matching")]),
    (
        "AC-039",
        &[("tests/wire/attacks/headers.rs", "what_a_client_claims_of_the_address_is_in_no_answer")],
    ),
    ("AC-041", &[("tests/wire/attacks/headers.rs", "the_right_most_untrusted_hop_is_the_client")]),
    ("AC-045", &[("src/policy/site.rs", "hosts_that_are_ours")]),
    ("AC-051", &[("tests/wire/websocket.rs", "nobody_is_switched_who_did_not_ask")]),
    ("AC-053", &[("tests/wire/clients.rs", "requests_that_come_together_are_never_mixed_up")]),
    ("AC-056", &[("tests/wire/chunked.rs", "chunks_that_cannot_be_read_end_the_connection")]),
    (
        "AC-058",
        &[
            ("tests/wire/tls/floods.rs", "ten_thousand_requests_that_are_taken_back_harm_nobody"),
            ("tests/wire/tls/floods.rs", "ten_thousand_streams_that_the_gateway_ends_harm_nobody"),
        ],
    ),
    ("AC-059", &[("tests/wire/attacks/state.rs", "a_decision_is_never_remembered")]),
    (
        "AC-060",
        &[
            ("tests/wire/clients.rs", "a_secret_is_good_only_as_what_it_is"),
            ("tests/wire/introspection/own.rs", "a_store_is_asked_for_the_kinds_it_is_there_for"),
        ],
    ),
    ("AC-063", &[("tests/wire/attacks/state.rs", "a_decision_is_never_remembered")]),
    (
        "AC-066",
        &[("tests/wire/outage.rs", "a_revocation_by_another_process_is_measured_and_final")],
    ),
    (
        "AC-067",
        &[(
            "tests/wire/outage.rs",
            "an_outage_bridges_who_is_known_and_tells_everyone_else_to_come_back",
        )],
    ),
    (
        "AC-068",
        &[
            ("tests/wire/outage.rs", "many_first_uses_of_one_token_ask_the_store_once"),
            ("tests/wire/introspection/first_uses.rs", "who_goes_away_takes_no_answer_along"),
        ],
    ),
    ("AC-069", &[("tests/wire/jwt/attacks.rs", "a_public_key_is_no_shared_one")]),
    ("AC-071", &[("tests/wire/jwt.rs", "what_is_claimed_decides")]),
    ("AC-072", &[("tests/wire/jwt/attacks.rs", "a_token_names_no_key_and_no_place_of_one")]),
    (
        "AC-073",
        &[(
            "tests/wire/jwt/keys.rs",
            "a_flood_of_unknown_keys_makes_one_question_and_costs_no_key",
        )],
    ),
    ("AC-075", &[("tests/wire/jwt/attacks.rs", "a_key_is_its_own_issuers_alone")]),
    ("AC-077", &[("tests/wire/jwt/attacks.rs", "what_is_too_long_or_too_deep_is_refused")]),
    (
        "AC-078",
        &[(
            "tests/wire/jwt/attacks.rs",
            "scopes_are_members_of_a_claim_and_never_more_than_the_policy_has",
        )],
    ),
    ("AC-079", &[("tests/wire/answers.rs", "nothing_secret_is_written")]),
    (
        "AC-080",
        &[("tests/wire/attacks/state.rs", "a_secret_of_a_request_that_fails_is_written_nowhere")],
    ),
    (
        "AC-082",
        &[(
            "tests/wire/jwt/attacks.rs",
            "nothing_that_is_claimed_comes_back_and_no_token_is_logged",
        )],
    ),
    ("AC-084", &[("tests/wire/attacks/admin.rs", "no_answer_holds_a_secret")]),
    ("AC-085", &[("tests/wire/traces.rs", "no_span_holds_a_secret")]),
    // Digests are compared, and looked up, never what was presented: what a comparison takes tells nothing.
    ("AC-087", &[("src/admin/credential.rs", "one_bearer_token_and_nothing_else")]),
    ("AC-090", &[("tests/wire/attacks/keys.rs", "a_dsn_opens_its_own_project_and_nothing_else")]),
    (
        "AC-093",
        &[(
            "tests/wire/attacks/state.rs",
            "nobody_gets_more_guesses_by_another_address_or_all_at_once",
        )],
    ),
    (
        "AC-094",
        &[(
            "tests/wire/attacks/state.rs",
            "nobody_gets_more_guesses_by_another_address_or_all_at_once",
        )],
    ),
    (
        "AC-096",
        &[
            ("src/store/cache/tests/guesses.rs", "one_guesser_spends_its_own_part"),
            ("tests/wire/introspection/budget.rs", "who_guesses_leaves_the_others_theirs"),
        ],
    ),
    (
        "AC-098",
        &[("tests/wire/answers.rs", "links_and_locations_name_the_address_that_was_called")],
    ),
    ("AC-099", &[("src/rewrite/link.rs", "the_grammar")]),
    ("AC-101", &[("src/rewrite/link.rs", "look_alikes_stay")]),
    (
        "AC-104",
        &[(
            "tests/wire/introspection/misbehaving.rs",
            "a_sentry_that_misbehaves_lets_nobody_in_and_takes_nobody_out",
        )],
    ),
    (
        "AC-105",
        &[(
            "tests/wire/introspection/misbehaving.rs",
            "an_oauth_server_that_misbehaves_lets_nobody_in_and_takes_nobody_out",
        )],
    ),
    (
        "AC-107",
        &[(
            "tests/wire/outage.rs",
            "a_row_that_cannot_be_read_is_never_allowed_and_harms_no_other",
        )],
    ),
    (
        "AC-108",
        &[
            ("src/policy/rules/tests.rs", "an_empty_table_refuses_everything"),
            ("tests/wire/attacks/state.rs", "nobody_comes_in_where_no_token_was_ever_issued"),
        ],
    ),
    ("AC-110", &[("src/config/tests.rs", "one_problem_each")]),
    ("AC-111", &[("src/config/tests/rules.rs", "wrong_rules_name_their_place")]),
    (
        "AC-113",
        &[("tests/wire/attacks/state.rs", "series_do_not_grow_with_who_calls_nor_name_them")],
    ),
    ("AC-114", &[("tests/wire/answers.rs", "series_do_not_grow_with_what_clients_send")]),
    (
        "AC-115",
        &[(
            "tests/wire/attacks/state.rs",
            "a_revocation_ends_nothing_that_was_let_in_and_lets_nothing_else_in",
        )],
    ),
    (
        "AC-116",
        &[
            ("src/server/place.rs", "a_head_has_its_time_from_its_first_byte_on"),
            ("tests/wire/strangers.rs", "a_body_that_comes_byte_by_byte_has_an_end"),
        ],
    ),
    (
        "AC-118",
        &[("tests/wire/rewritten.rs", "what_cannot_be_rewritten_is_502_or_passes_as_it_is")],
    ),
    ("AC-119", &[("tests/wire/attacks/admin.rs", "no_name_and_no_path_leads_there_from_outside")]),
    ("AC-120", &[("tests/wire/attacks/admin.rs", "a_page_of_somebody_else_is_no_operator")]),
    (
        "AC-122",
        &[("tests/wire/attacks/state.rs", "a_binding_that_a_route_does_not_name_is_not_met")],
    ),
    (
        "AC-123",
        &[(
            "tests/wire/bound.rs",
            "what_is_of_the_project_arrives_and_what_is_of_another_does_not",
        )],
    ),
    (
        "AC-124",
        &[(
            "tests/wire/bound.rs",
            "what_is_of_the_project_arrives_and_what_is_of_another_does_not",
        )],
    ),
    ("AC-127", &[("tests/wire/bound.rs", "a_body_arrives_byte_for_byte_or_not_at_all")]),
    ("AC-133", &[("tests/wire/attacks/admin.rs", "no_token_of_a_client_opens_it")]),
    ("AC-134", &[("tests/wire/attacks/state.rs", "a_decision_is_never_remembered")]),
];

#[test]
fn what_is_no_case_has_tests_and_each_of_them_is_there() {
    let corpus = Corpus::read().unwrap();
    let listed: BTreeMap<_, _> = LEDGER.iter().copied().collect();
    assert_eq!(listed.len(), LEDGER.len(), "a number is there twice");
    let known: BTreeSet<_> = corpus
        .cases
        .iter()
        .map(|case| case.id.as_str())
        .chain(corpus.elsewhere.iter().map(|other| other.id.as_str()))
        .collect();
    for id in listed.keys() {
        assert!(known.contains(id), "{id} is no attack");
    }
    for other in &corpus.elsewhere {
        assert!(listed.contains_key(&*other.id), "{} {} has no test", other.id, other.name);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (id, tests) in LEDGER {
        assert!(!tests.is_empty(), "{id}");
        for (file, test) in *tests {
            let text = std::fs::read_to_string(root.join(file)).expect(file);
            assert!(is_test(&text, test), "{id}: no test `{test}` in {file}");
            println!("{id}  {file}  {test}");
        }
    }
}

/// Whether a function is a test: that stands on the line before it.
fn is_test(text: &str, name: &str) -> bool {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    lines.windows(2).any(|pair| {
        let function = pair[1].trim_start_matches("async ");
        pair[0].contains("test") && function.starts_with(&format!("fn {name}("))
    })
}
