//! Whatever a credential of Sentry's hangs on, changed or taken away by itself.

use crate::database::Database;
use crate::store::{basic, find, told};

/// Of the integration that the recorded Sentry has: by `api_token_id`, and by a row of its own.
const INTEGRATION: &str = "Bearer userseedinternal";
const ITS_SCOPES: &str = "event:read org:read project:read project:releases team:read";

#[test]
fn each_thing_that_a_credential_hangs_on_counts_by_itself() {
    let database = Database::recorded();
    database.run(
        "INSERT INTO sentry_apikey (id, organization_id, label, key, scopes, scope_list, status, date_added)
             VALUES (9100, 3, 'x', 'keyother', 0, '{event:read}', 0, now())",
    );
    let oauth = "UPDATE sentry_apiapplication SET status = {} WHERE id =
        (SELECT application_id FROM sentry_apitoken WHERE token = 'useroauthappall')";
    let status = |status: &str| oauth.replace("{}", status);
    let unlinked = "DELETE FROM sentry_sentryappinstallationtoken WHERE id = 1;";
    let unnamed = "UPDATE sentry_sentryappinstallation SET api_token_id = NULL WHERE id = 1;";
    let removed = "UPDATE sentry_sentryappinstallation SET date_deleted = now() WHERE id = 1;";
    let active = format!("user_token active [{ITS_SCOPES}] 2,acme any");
    let homeless = format!("user_token disabled [{ITS_SCOPES}]  any");
    let rows = [
        ("SELECT 1".to_owned(), INTEGRATION, active.clone()),
        // Its application.
        (
            "UPDATE sentry_sentryapp SET date_deleted = now() WHERE id = 1".to_owned(),
            INTEGRATION,
            format!("user_token disabled [{ITS_SCOPES}] 2,acme any"),
        ),
        (
            "UPDATE sentry_sentryapp SET scope_list = '{event:read}' WHERE id = 1".to_owned(),
            INTEGRATION,
            "user_token active [event:read] 2,acme any".to_owned(),
        ),
        (
            "UPDATE sentry_sentryapp SET scope_list = '{}', scopes = 128 WHERE id = 1".to_owned(),
            INTEGRATION,
            "user_token active [event:read] 2,acme any".to_owned(),
        ),
        // Its installation, by either of the two links to it.
        (unlinked.to_owned(), INTEGRATION, active.clone()),
        (unnamed.to_owned(), INTEGRATION, active),
        (format!("{unlinked} {unnamed}"), INTEGRATION, homeless.clone()),
        (format!("{unlinked} {removed}"), INTEGRATION, homeless.clone()),
        (format!("{unnamed} {removed}"), INTEGRATION, homeless),
        // The application of a user's token: inactive, about to be deleted, being deleted.
        (status("0"), "Bearer useroauthappall", "user_token active [many] any any".to_owned()),
        (status("1"), "Bearer useroauthappall", "user_token disabled [many] any any".to_owned()),
        (status("2"), "Bearer useroauthappall", "user_token disabled [many] any any".to_owned()),
        (status("3"), "Bearer useroauthappall", "user_token disabled [many] any any".to_owned()),
        // Of an organisation that is gone a credential reaches none, and is known all the same.
        (
            "DELETE FROM sentry_organization WHERE id = 3".to_owned(),
            "Bearer sntrys_orgoatotherorg",
            "org_token active [org:ci]  any".to_owned(),
        ),
        (
            "DELETE FROM sentry_organization WHERE id = 3".to_owned(),
            &basic("keyother"),
            "api_key active [event:read]  any".to_owned(),
        ),
    ];
    let tables = [
        "sentry_sentryapp",
        "sentry_sentryappinstallation",
        "sentry_sentryappinstallationtoken",
        "sentry_apiapplication",
        "sentry_organization",
    ];
    for table in tables {
        database.run(&format!("CREATE TABLE kept_{table} AS TABLE {table}"));
    }
    for (change, authorization, wanted) in &rows {
        database.run(change);
        let found = find(&database, authorization).unwrap().map(|identity| told(&identity));
        assert_eq!(found.as_deref(), Some(&**wanted), "{authorization} after {change}");
        for table in tables {
            database.run(&format!("DELETE FROM {table}; INSERT INTO {table} TABLE kept_{table}"));
        }
    }
}
