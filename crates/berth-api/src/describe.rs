//! Routes that describe themselves: a path cannot be added without saying what it does, so that the API
//! and its description (`docs/openapi.json`) do not drift apart.
//!
//! How to add a route: in `routes.rs` (or a module of your own that makes a [`Routes`]), write
//!
//! ```text
//! .route("/things/{id}", get(things::one, "One thing")
//!     .put(things::put, about("Changes a thing").json::<NewThing>().query::<Force>())
//!     .delete(things::delete, "Deletes a thing"))
//! ```
//!
//! The text is the summary. Say what the handler reads: [`About::json`] (the type that it parses the body
//! as; it derives `schemars::JsonSchema`), [`About::form`] (a multipart form and its parts),
//! [`About::bytes`] (any bytes), [`About::query`] (the type behind `Query`). Say what it answers if that
//! is no envelope: [`About::answers`]. Parameters of the path are taken from the path. Then
//! `cargo xtask openapi` writes the description; a test fails while the file is stale. (When it conflicts
//! in a merge: merge the routes, then write it again.)

mod document;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter};
use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::Api;

/// Routes with their descriptions.
pub(crate) struct Routes {
    router: Router<Api>,
    operations: Vec<Operation>,
}

/// One method of one path.
pub(crate) struct Operation {
    path: String,
    method: Method,
    /// Module and name of the handler.
    handler: &'static str,
    about: About,
}

impl Routes {
    pub(crate) fn new() -> Self {
        Self {
            router: Router::new(),
            operations: Vec::new(),
        }
    }

    pub(crate) fn route(mut self, path: &str, methods: Methods) -> Self {
        let described = methods.described.into_iter();
        self.operations
            .extend(described.map(|(method, handler, about)| Operation {
                path: path.to_owned(),
                method,
                handler,
                about,
            }));
        self.router = self.router.route(path, methods.router);
        self
    }

    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.operations.extend(other.operations);
        self.router = self.router.merge(other.router);
        self
    }

    pub(crate) fn nest(mut self, prefix: &str, inner: Self) -> Self {
        let inside = inner.operations.into_iter();
        self.operations.extend(inside.map(|operation| Operation {
            path: format!("{prefix}{}", operation.path),
            ..operation
        }));
        self.router = self.router.nest(prefix, inner.router);
        self
    }

    /// What is served.
    pub(crate) fn into_router(self, api: Api) -> Router {
        self.router.with_state(api)
    }

    /// The description, OpenAPI 3.1.
    pub(crate) fn document(&self) -> serde_json::Value {
        document::of(&self.operations)
    }
}

/// The methods of a path.
pub(crate) struct Methods {
    router: MethodRouter<Api>,
    described: Vec<(Method, &'static str, About)>,
}

macro_rules! methods {
    ($($name:ident $filter:ident),*) => {
        $(
            #[allow(dead_code, reason = "one for each method, whoever needs it")]
            pub(crate) fn $name<H: Handler<T, Api>, T: 'static>(handler: H, about: impl Into<About>) -> Methods {
                Methods { router: MethodRouter::new(), described: Vec::new() }.$name(handler, about)
            }
        )*
        #[allow(dead_code, reason = "one for each method, whoever needs it")]
        impl Methods {
            $(
                pub(crate) fn $name<H: Handler<T, Api>, T: 'static>(self, handler: H, about: impl Into<About>) -> Self {
                    self.on(Method::$filter, MethodFilter::$filter, handler, about.into())
                }
            )*
        }
    };
}
methods!(get GET, put PUT, post POST, patch PATCH, delete DELETE, head HEAD);

impl Methods {
    fn on<H: Handler<T, Api>, T: 'static>(
        mut self,
        method: Method,
        filter: MethodFilter,
        handler: H,
        about: About,
    ) -> Self {
        let name = std::any::type_name::<H>();
        self.described.push((method, name, about));
        self.router = self.router.on(filter, handler);
        self
    }

    /// Bytes that a request's body may have here, in place of the API's usual limit.
    #[allow(dead_code, reason = "whoever takes larger bodies needs it")]
    pub(crate) fn body_limit(mut self, bytes: usize) -> Self {
        self.router = self.router.layer(DefaultBodyLimit::max(bytes));
        self
    }
}

type MakeSchema = fn(&mut SchemaGenerator) -> Schema;

/// What a request's body is.
enum Body {
    Nothing,
    Json(MakeSchema),
    /// The parts that are known, and whether there may be others.
    Form(MakeSchema, bool),
    /// A media type.
    Bytes(&'static str),
}

/// What a method does, for clients.
pub(crate) struct About {
    summary: &'static str,
    body: Body,
    query: Vec<MakeSchema>,
    /// A media type; `None`: the envelope.
    answers: Option<&'static str>,
    /// Nobody shows a token: the address is a secret.
    open: bool,
}

pub(crate) fn about(summary: &'static str) -> About {
    About {
        summary,
        body: Body::Nothing,
        query: Vec::new(),
        answers: None,
        open: false,
    }
}

impl From<&'static str> for About {
    fn from(summary: &'static str) -> Self {
        about(summary)
    }
}

#[allow(dead_code, reason = "whoever has such a route needs it")]
impl About {
    /// The body is JSON of this type, whatever its `Content-Type` says.
    pub(crate) fn json<T: JsonSchema>(mut self) -> Self {
        self.body = Body::Json(SchemaGenerator::subschema_for::<T>);
        self
    }

    /// The body is a multipart form, whose parts are the fields of this type, as JSON; `others`: and any more.
    pub(crate) fn form<T: JsonSchema>(mut self, others: bool) -> Self {
        self.body = Body::Form(
            |generator| <T as JsonSchema>::json_schema(generator),
            others,
        );
        self
    }

    /// The body is anything.
    pub(crate) fn bytes(mut self, media_type: &'static str) -> Self {
        self.body = Body::Bytes(media_type);
        self
    }

    /// The query is of this type.
    pub(crate) fn query<T: JsonSchema>(mut self) -> Self {
        // The fields themselves, not a reference to the type.
        self.query
            .push(|generator| <T as JsonSchema>::json_schema(generator));
        self
    }

    /// What is answered is no envelope, but of this media type.
    pub(crate) fn answers(mut self, media_type: &'static str) -> Self {
        self.answers = Some(media_type);
        self
    }

    /// No token is shown there: the address itself cannot be guessed. The guard has to know of it, too.
    pub(crate) fn without_token(mut self) -> Self {
        self.open = true;
        self
    }
}
