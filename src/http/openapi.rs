//! The API as a document (OpenAPI 3.1), put together from what stands at the handlers. What it takes to use an endpoint, and what the
//! guard may answer before the handler is asked, is not written there: it follows from the table.
//!
//! The scope that a token needs is told by `security` (roles of the schemes) and, for readers of less, by `x-scope`.

use std::sync::LazyLock;

use axum::http::{Method, header};
use axum::response::IntoResponse;
use utoipa::OpenApi as _;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::{ArrayItems, Schema};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Components, Content, OpenApi, Ref, RefOr, Response, ResponseBuilder};

use super::table::{Access, Endpoint, endpoints as table, on};
use super::{api, dispatch, events, legacy};
use crate::control::Problem;
use crate::metrics::web;
use crate::model::Right;

const PATH: &str = "/api/v1/openapi.json";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![on(Method::GET, PATH, Access::Known, document)]
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "mailbell",
        description = "Alerts in, and what became of them. Where a path takes GET it takes HEAD as well. Times are RFC 3339 in UTC. \
            Errors are problem details (RFC 9457) that name the `field` at fault. Asked for any other \
            group by name than its own, a token of some groups gets 403, whether there is such a group or not. With a token of all \
            groups the lists of what happened (alerts, conditions, notifications, archive, events) take any name, for the config may \
            have had that group once; recipients and groups answer 404 for one that it does not have.",
        license(name = "MIT", identifier = "MIT"),
    ),
    paths(document),
    components(schemas(Problem)),
    tags(
        (name = "alerts", description = "Alerts: handed in, and what became of them"),
        (name = "notifications", description = "One alert for one recipient each: what waits, and what became of it"),
        (name = "quarantine", description = "Mails that could not be read"),
        (name = "events", description = "What happens, as it happens"),
        (name = "people", description = "Who is told, and who can be told now"),
        (name = "watch", description = "How the service is"),
        (name = "access", description = "Tokens and sessions"),
        (name = "document", description = "This document"),
    ),
)]
struct Written;

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "document", operation_id = "openapi", responses(
    (status = 200, description = "OpenAPI 3.1", body = Object),
))]
async fn document() -> impl IntoResponse {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| openapi().to_json().unwrap_or_default());
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str())
}

/// The whole document.
pub fn openapi() -> OpenApi {
    let parts =
        [dispatch::Written::openapi(), events::Written::openapi(), legacy::Written::openapi(), web::Written::openapi()];
    let mut document = Written::openapi();
    parts.into_iter().chain(api::written()).for_each(|part| document.merge(part));
    let components = document.components.get_or_insert_with(Components::default);
    schemes(components);
    pages(components);
    for (name, description) in ANSWERS.into_iter().map(|(_, name, description)| (name, description)) {
        components.responses.insert(name.to_owned(), RefOr::T(problem(description)));
    }
    for endpoint in table() {
        let Some(path) = document.paths.paths.get_mut(endpoint.path) else { continue };
        if let Some(operation) = operation(path, &endpoint.method) {
            complete(operation, &endpoint);
        }
    }
    document
}

/// The operation of a path item.
fn operation<'a>(path: &'a mut PathItem, method: &Method) -> Option<&'a mut Operation> {
    match *method {
        Method::POST => path.post.as_mut(),
        Method::PUT => path.put.as_mut(),
        Method::PATCH => path.patch.as_mut(),
        Method::DELETE => path.delete.as_mut(),
        _ => path.get.as_mut(),
    }
}

/// What may be answered before the handler is asked, or in its stead: status, name, and when.
const ANSWERS: [(&str, &str, &str); 10] = [
    ("401", "Unauthorized", "Without a token in force, or the session has ended"),
    ("403", "Forbidden", "The token's scope or groups do not allow it"),
    ("403", "Forged", "A session without its CSRF token"),
    ("408", "Slow", "The body was not there in time"),
    ("413", "TooLarge", "The body is larger than http.max_body"),
    ("414", "LongTarget", "The path and its query are too long"),
    ("429", "TooMany", "Too many requests of this token or address; see the header Retry-After"),
    ("431", "LargeHeader", "The header is too large"),
    ("500", "Fault", "A fault of mailbell, or of its store; its log says more"),
    ("503", "Busy", "Too many requests wait, or the service ends: nothing was done; see the header Retry-After"),
];

/// Adds what follows from the table, where the handler's own words do not say it better.
fn complete(operation: &mut Operation, endpoint: &Endpoint) {
    let changes = !matches!(endpoint.method, Method::GET | Method::HEAD);
    let answers = &mut operation.responses.responses;
    for (_, answer) in answers.iter_mut().filter(|(status, _)| status.as_str() >= "400") {
        if let RefOr::T(answer) = answer
            && answer.content.is_empty()
        {
            answer.content = problem("").content;
        }
    }
    let scoped = matches!(endpoint.access, Access::Scope(_) | Access::Local(_));
    let known = scoped || endpoint.access == Access::Known;
    for (status, name, _) in ANSWERS {
        let may = match name {
            "Unauthorized" => known,
            "Forbidden" => scoped,
            "Forged" => known && !scoped && changes,
            "TooMany" => endpoint.access != Access::Open,
            "Slow" | "TooLarge" | "Busy" => changes,
            _ => true,
        };
        if may {
            answers.entry(status.to_owned()).or_insert_with(|| RefOr::Ref(Ref::from_response_name(name)));
        }
    }
    operation.security = Some(security(endpoint.access));
    if let Access::Scope(right) | Access::Local(right) = endpoint.access {
        operation.extensions = Some(ExtensionsBuilder::new().add("x-scope", right.as_str()).build());
    }
}

fn problem(description: &str) -> Response {
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    ResponseBuilder::new().description(description).content("application/problem+json", content).build()
}

/// One of these is enough.
fn security(access: Access) -> Vec<SecurityRequirement> {
    let of = |scopes: &[Right]| {
        let scopes: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
        [TOKEN, SESSION].map(|scheme| SecurityRequirement::new(scheme, scopes.clone()))
    };
    match access {
        Access::Open | Access::Legacy => Vec::new(),
        Access::Known => of(&[]).into(),
        Access::Scope(right) => of(&[right]).into(),
        // From this machine nothing.
        Access::Local(right) => [SecurityRequirement::default()].into_iter().chain(of(&[right])).collect(),
    }
}

/// A page's rows are written out in it; it is enough to say what they are.
fn pages(components: &mut Components) {
    let names: Vec<String> = components.schemas.keys().cloned().collect();
    for (name, schema) in &mut components.schemas {
        let row = name.strip_prefix("Page_").filter(|row| names.iter().any(|name| name == row));
        if let (Some(row), RefOr::T(Schema::Object(page))) = (row, schema)
            && let Some(RefOr::T(Schema::Array(items))) = page.properties.get_mut("items")
        {
            items.items = ArrayItems::RefOrSchema(Box::new(RefOr::Ref(Ref::from_schema_name(row))));
        }
    }
}

const TOKEN: &str = "token";
const SESSION: &str = "session";

fn schemes(components: &mut Components) {
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("mailbell_…")
        .description(Some(
            "`mailbell token create NAME --scope SCOPE`. Scopes: dispatch, read, act (includes read), admin (includes all). A token \
             may be limited to groups: then it dispatches to, and sees, only these.",
        ))
        .build();
    let session = ApiKeyValue::with_description(
        "mailbell_session",
        "Of POST /api/v1/session, for browsers; over TLS its name is __Host-mailbell_session. What changes something needs the \
         session's `csrf` in the header X-CSRF-Token as well. It may do what its token may.",
    );
    components.add_security_scheme(TOKEN, SecurityScheme::Http(token));
    components.add_security_scheme(SESSION, SecurityScheme::ApiKey(ApiKey::Cookie(session)));
}
