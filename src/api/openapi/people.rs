//! Signing in, and who may: an account's own users, and all of them for the operator.

use super::super::passwords::{MAX_BYTES, MIN_CHARS};
use super::account::scopes;
use super::operation::{Group, Operation, delete, get, post};
use super::schema::{
    Field, Schema, boolean, constant, data_of, integer, list_of, named, object, optional, request,
    required, seconds, text, word,
};
use crate::ledger::{MAX_NAME_CHARS, MAX_USER_NAME_CHARS, Role};

pub(super) fn group() -> Group {
    let mut operations = vec![
        post("/api/v1/sessions", "signIn", "Sign in")
            .body(request(
                "Who signs in.",
                [
                    required("name", text("The user's name; case does not count.")),
                    required("password", text("The password.")),
                ],
            ))
            .answers("A session.", named("Session"))
            .fails(&[401, 429, 503]),
        post("/api/v1/sessions/cookie", "signInByCookie", "Sign in as the dashboard does")
            .about(
                "For this server's own pages. The answer sets the cookie `mizan_session` (over \
                 HTTPS `__Host-mizan_session`), which counts where no key is sent. With it, \
                 requests that another site may have caused are refused with 403 and the code \
                 `csrf`: whatever is no `GET` or `HEAD` needs the header `x-mizan-dashboard: 1`. \
                 Users who sign in so may also call what needs the scope `inference`: they spend \
                 through a key of theirs called `Playground`.",
            )
            .header("x-mizan-dashboard", constant("1", "Sent by this server's own pages."))
            .body(request(
                "Who signs in: a user by name and password, or whoever holds a key.",
                [
                    optional("name", text("The user's name; case does not count.")),
                    optional("password", text("The password.")),
                    optional("key", text("A key of an account, or the operator's.")),
                ],
            ))
            .answers("Who signed in.", data_of(named("Me")))
            .with_headers(&["set-cookie", "cache-control"])
            .fails(&[401, 403, 429, 503]),
        delete("/api/v1/sessions/current", "signOut", "Sign out")
            .about("Ends the session that is shown, or what the browser's cookie stands for.")
            .answers(
                "The session is over.",
                object("It is worth nothing any more.", [required("ended", boolean("True."))]),
            ),
        post("/api/v1/invitations/accept", "acceptInvitation", "Set a password by invitation")
            .about("An invitation is good for one password and one time.")
            .body(request(
                "The invitation and the password.",
                [
                    required("invitation", text("The secret of the invitation.")),
                    required("password", text("The new password.").chars(MIN_CHARS..=MAX_BYTES)),
                ],
            ))
            .answers("The user can sign in.", named("User"))
            .fails(&[503]),
        get("/api/v1/me", "getMe", "Show who asks").answers("The caller.", data_of(named("Me"))),
    ];
    operations.extend(users(
        ["/api/v1/users", "/api/v1/users/{id}"],
        ["/api/v1/users/{id}/invite", "/api/v1/users/{id}/role"],
        ["listUsers", "createUser", "disableUser", "inviteUser", "setUserRole"],
    ));
    operations.extend(users(
        ["/api/v1/admin/users", "/api/v1/admin/users/{id}"],
        ["/api/v1/admin/users/{id}/invite", "/api/v1/admin/users/{id}/role"],
        ["listAllUsers", "createAnyUser", "disableAnyUser", "inviteAnyUser", "setAnyUserRole"],
    ));
    Group {
        tag: "People",
        about: "Who may sign in: owners and members of accounts, and operators.",
        operations,
        schemas: vec![
            ("User", object("A user.", user_fields())),
            ("InvitedUser", invited_user()),
            ("NewUserRequest", new_user_request()),
            ("Session", session()),
            ("Me", me()),
        ],
    }
}

/// The routes that manage users, which are the same for accounts and the operator.
fn users(
    [all, one]: [&'static str; 2],
    [invite, role]: [&'static str; 2],
    [list_id, create_id, disable_id, invite_id, role_id]: [&'static str; 5],
) -> [Operation; 5] {
    let of_user = |operation: Operation| operation.path("id", integer("The user's id."));
    [
        get(all, list_id, "List users")
            .answers("The users.", list_of("Disabled ones too.", named("User"))),
        post(all, create_id, "Make a user")
            .about("The user comes in by the invitation of the answer, which is shown once.")
            .body(named("NewUserRequest"))
            .answers("The user and its invitation.", named("InvitedUser"))
            .fails(&[404, 422]),
        of_user(delete(one, disable_id, "Disable a user"))
            .about("Its sessions end. Users are never deleted.")
            .answers("The user.", named("User"))
            .fails(&[422]),
        of_user(post(invite, invite_id, "Invite a user again"))
            .answers("The user and its invitation.", named("InvitedUser"))
            .fails(&[422]),
        of_user(post(role, role_id, "Change a user's role"))
            .body(request("The role.", [required("role", role_word())]))
            .answers("The user.", named("User"))
            .fails(&[422]),
    ]
}

fn role_word() -> Schema {
    word(
        "`owner`: everything on its account; `member`: uses it; `operator`: runs the server.",
        &Role::ALL.map(Role::as_str),
    )
}

fn new_user_request() -> Schema {
    request(
        "The user to be made.",
        [
            required(
                "name",
                text("What it signs in with, such as an e-mail address, without spaces.")
                    .chars(1..=MAX_USER_NAME_CHARS),
            ),
            required("role", role_word()),
            optional(
                "account",
                text("For the operator: the account it belongs to; none for operators.")
                    .chars(1..=MAX_NAME_CHARS),
            ),
        ],
    )
}

fn user_fields() -> Vec<Field> {
    vec![
        required("id", integer("Its id.")),
        required("name", text("What it signs in with, in lower case.")),
        required("account", text("The account's name; null: it is an operator.").or_null()),
        required("role", role_word()),
        required("created_at", seconds("When it was made.")),
        required("has_password", boolean("Whether it has accepted an invitation.")),
        required("disabled", boolean("Whether it may do nothing any more.")),
    ]
}

fn invited_user() -> Schema {
    let mut fields = user_fields();
    fields.extend([
        required("invitation", text("The invitation's secret. It can not be read again.")),
        required("invitation_url", text("The dashboard's page to come in by.")),
        required("invitation_expires_at", seconds("From then on it is worth nothing.")),
    ]);
    object("A user with the secret that it comes in with.", fields)
}

fn session() -> Schema {
    object(
        "A session.",
        [
            required("token", text("Its secret: send it as keys are sent.")),
            required("expires_at", seconds("From then on it is worth nothing.")),
            required("name", text("Who signed in.")),
            required("role", role_word()),
            required("account", text("The account's name; null for operators.").or_null()),
        ],
    )
}

fn me() -> Schema {
    object(
        "Whoever asks.",
        [
            required("kind", word("What it is.", &["key", "user", "operator"])),
            required("id", integer("Its id, if it has one.").or_null()),
            required("name", text("What it is called.")),
            optional("prefix", text("Of a key: its first characters.")),
            required("account", text("The account's name.").or_null()),
            required("plan", text("The account's plan.").or_null()),
            required("role", role_word().or_null()),
            required("scopes", scopes("What it may do on the account.")),
            required(
                "playground",
                boolean("Whether it may generate as it is signed in, if there are credits."),
            ),
            required("expires_at", seconds("From then on it is refused.").or_null()),
        ],
    )
}
