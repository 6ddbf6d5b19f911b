//! The bodies of what Sentry answers, with what its clients read of them. The URLs in them name the
//! canonical host, as Sentry's do.

use serde_json::{Value, json};

/// The organisations, projects and repositories that there are; a page of a list has two.
pub const ORGANIZATIONS: [&str; 5] = ["acme", "bolt", "crow", "dune", "echo"];
pub const PROJECTS: [&str; 5] = ["web", "api", "app", "job", "cli"];
pub const REPOSITORIES: [&str; 5] = ["acme/web", "acme/api", "acme/app", "acme/job", "acme/cli"];
pub const TEAMS: [&str; 5] = ["front", "back", "mobile", "data", "tools"];
/// The short ids of the issues, whose ids count from 100.
pub const ISSUES: [&str; 5] = ["WEB-1", "WEB-2", "WEB-3", "WEB-4", "WEB-5"];

const DATE: &str = "2026-11-24T03:19:27.483865Z";

pub fn detail(text: &str) -> Value {
    json!({ "detail": text })
}

/// What `GET /api/0/` and `GET /api/0/auth/` say of who is calling.
pub fn caller() -> Value {
    json!({
        "version": "0",
        "auth": { "scopes": ["org:read", "project:read", "project:releases", "event:read"] },
        "user": user(),
    })
}

pub fn user() -> Value {
    json!({
        "id": "1", "name": "gateway", "username": "gateway", "email": "gateway@example.com",
        "isActive": true, "dateJoined": DATE,
    })
}

pub fn regions(canonical: &str) -> Value {
    json!({ "regions": [{ "name": "default", "url": canonical }] })
}

pub fn organization(canonical: &str, at: usize) -> Value {
    let slug = ORGANIZATIONS[at];
    json!({
        "id": (at + 1).to_string(), "slug": slug, "name": format!("The {slug} company"),
        "status": { "id": "active", "name": "active" }, "dateCreated": DATE,
        "isEarlyAdopter": false, "require2FA": false, "requireEmailVerification": false,
        "avatar": { "avatarType": "letter_avatar", "avatarUuid": null, "avatarUrl": null },
        "features": ["discover-query"],
        "links": { "organizationUrl": canonical, "regionUrl": canonical },
    })
}

pub fn project_id(at: usize) -> String {
    (at + 2).to_string()
}

pub fn project(canonical: &str, at: usize) -> Value {
    let slug = PROJECTS[at];
    let team = json!({ "id": "1", "slug": "front", "name": "front" });
    json!({
        "id": project_id(at), "slug": slug, "name": format!("The {slug} project"),
        "platform": "javascript", "dateCreated": DATE, "status": "active", "isMember": true,
        "isBookmarked": false, "hasAccess": true, "isInternal": false, "isPublic": false,
        "features": [], "access": [], "firstEvent": null, "color": "#3fbf7f",
        "team": team, "teams": [team], "organization": organization(canonical, 0),
        "avatar": { "avatarType": "letter_avatar", "avatarUuid": null },
    })
}

pub fn repository(at: usize) -> Value {
    json!({
        "id": (at + 1).to_string(), "name": REPOSITORIES[at], "url": null, "status": "active",
        "provider": { "id": "integrations:github", "name": "GitHub" }, "dateCreated": DATE,
        "integrationId": "1", "externalSlug": REPOSITORIES[at], "externalId": "7",
    })
}

pub fn team(at: usize) -> Value {
    json!({
        "id": (at + 1).to_string(), "slug": TEAMS[at], "name": TEAMS[at], "dateCreated": DATE,
        "isMember": true, "hasAccess": true, "isPending": false, "memberCount": 2,
        "avatar": { "avatarType": "letter_avatar", "avatarUuid": null }, "projects": [],
    })
}

/// Where an issue is, by its id or its short id.
pub fn issue_at(name: &str) -> Option<usize> {
    let by_id = |at: &usize| (at + 100).to_string() == name;
    ISSUES.iter().position(|id| *id == name).or_else(|| (0..ISSUES.len()).find(by_id))
}

pub fn issue(canonical: &str, at: usize, status: &str) -> Value {
    json!({
        "id": (at + 100).to_string(), "shortId": ISSUES[at], "shareId": null,
        "title": format!("TypeError: boom {at}"), "culprit": "index in main", "level": "error",
        "permalink": format!("{canonical}/organizations/acme/issues/{}/", at + 100),
        "logger": null, "status": status, "statusDetails": {}, "substatus": "ongoing",
        "isPublic": false, "platform": "javascript", "type": "error", "issueType": "error",
        "issueCategory": "error", "priority": "high", "numComments": 0, "assignedTo": null,
        "project": { "id": "2", "slug": "web", "name": "The web project", "platform": "javascript" },
        "metadata": { "type": "TypeError", "value": format!("boom {at}"), "filename": "main.js", "function": "index" },
        "isBookmarked": false, "isSubscribed": false, "hasSeen": true, "isUnhandled": true,
        "annotations": [], "count": "7", "userCount": 3, "firstSeen": DATE, "lastSeen": DATE,
        "stats": { "24h": [] },
    })
}

pub fn event(at: usize) -> Value {
    let id = "e".repeat(32);
    let frame = json!({
        "filename": "main.js", "absPath": "app:///main.js", "module": "main", "function": "index",
        "lineNo": 3, "colNo": 7, "context": [[3, "boom()"]], "inApp": true,
    });
    let stacktrace = json!({
        "frames": [frame], "framesOmitted": null, "hasSystemFrames": false, "registers": null,
    });
    let exception = json!({
        "type": "TypeError", "value": format!("boom {at}"), "module": null, "threadId": null,
        "mechanism": null, "rawStacktrace": null, "stacktrace": stacktrace,
    });
    let data = json!({ "hasSystemFrames": false, "excOmitted": null, "values": [exception] });
    json!({
        "id": id, "eventID": id, "groupID": (at + 100).to_string(), "projectID": "2",
        "type": "error", "title": format!("TypeError: boom {at}"), "message": "",
        "culprit": "index in main", "platform": "javascript", "dateCreated": DATE,
        "dateReceived": DATE, "size": 999, "dist": null, "user": null, "contexts": {}, "sdk": null,
        "context": {}, "packages": {}, "errors": [], "metadata": { "type": "TypeError" },
        "tags": [{ "key": "environment", "value": "prod" }], "release": null,
        "entries": [{ "type": "exception", "data": data }],
    })
}

pub fn release(version: &str, released: Option<&Value>) -> Value {
    json!({
        "id": 1, "version": version, "shortVersion": version, "status": "open", "ref": null,
        "url": null, "dateReleased": released, "dateCreated": DATE, "data": {}, "newGroups": 0,
        "owner": null, "commitCount": 0, "lastCommit": null, "deployCount": 0, "lastDeploy": null,
        "authors": [], "firstEvent": null, "lastEvent": null,
        "versionInfo": {
            "package": null, "version": { "raw": version }, "description": version,
            "buildHash": null,
        },
        "projects": [{
            "id": 2, "slug": "web", "name": "The web project", "newGroups": 0,
            "platform": "javascript", "platforms": [], "hasHealthData": false,
        }],
    })
}

pub fn deploy(environment: &Value) -> Value {
    json!({
        "id": "1", "environment": environment, "name": null, "url": null, "dateStarted": null,
        "dateFinished": DATE,
    })
}

/// What a client must know to upload: small chunks, so that a small file has many.
pub fn chunk_upload(url: &str) -> Value {
    json!({
        "url": url, "chunkSize": 4096, "chunksPerRequest": 4, "maxFileSize": 2_147_483_648_u64,
        "maxRequestSize": 33_554_432, "concurrency": 2, "hashAlgorithm": "sha1",
        "compression": ["gzip"],
        "accept": [
            "debug_files", "release_files", "pdbs", "sources", "bcsymbolmaps", "il2cpp",
            "portablepdbs", "artifact_bundles", "artifact_bundles_v2", "proguard",
        ],
    })
}

pub fn debug_file(checksum: &str, name: &str) -> Value {
    json!({
        "id": "1", "uuid": "cbd657d6-3e41-5f72-a819-7b2eb2b15cd7", "sha1": checksum,
        "debugId": "cbd657d6-3e41-5f72-a819-7b2eb2b15cd7", "codeId": null, "cpuName": "any",
        "objectName": name, "symbolType": "proguard", "size": 1, "dateCreated": DATE,
        "headers": {}, "data": { "features": ["mapping"] },
    })
}
