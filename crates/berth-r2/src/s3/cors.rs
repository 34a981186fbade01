//! Requests of pages from other origins (CORS): what a browser asks before, and what it must be told after.

use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderName, VARY,
};
use http::{HeaderValue, Method};

use super::Service;
use super::error::S3Error;
use super::head::Head;
use crate::CorsRule;

/// Who asks from where.
pub(super) struct Origin {
    bucket: String,
    origin: String,
    /// What is to be done.
    method: String,
    /// A browser asks whether it may.
    preflight: bool,
    /// Which headers it would send.
    headers: Vec<String>,
}

impl Origin {
    /// `None`: it is no page of another origin.
    pub(super) fn of(head: &Head) -> Option<Self> {
        let bucket = head.bucket.clone()?;
        let origin = head.header("origin")?.to_owned();
        let asked = head.header("access-control-request-method");
        let preflight = head.method == Method::OPTIONS && asked.is_some();
        let headers = head.header("access-control-request-headers");
        let headers = headers.unwrap_or_default().split(',');
        let headers = headers.map(str::trim).filter(|name| !name.is_empty());
        Some(Self {
            bucket,
            origin,
            method: match asked.filter(|_| preflight) {
                Some(asked) => asked.to_owned(),
                None => head.method.as_str().to_owned(),
            },
            preflight,
            headers: headers.map(str::to_owned).collect(),
        })
    }

    /// Whether it only asks.
    pub(super) fn is_preflight(&self) -> bool {
        self.preflight
    }
}

impl Service {
    /// The rule by which a page may ask.
    async fn rule(&self, origin: &Origin) -> Option<CorsRule> {
        let rules = self.store.cors(&origin.bucket).await.unwrap_or_default();
        rules.into_iter().find(|rule| {
            let mut headers = origin.headers.iter();
            rule.allows(&origin.origin, &origin.method)
                && headers.all(|name| rule.allows_header(name))
        })
    }

    /// Answers a browser that asks before. Needs no signature: it says nothing of the bucket.
    pub(super) async fn preflight(&self, origin: &Origin) -> Result<Response, S3Error> {
        let Some(rule) = self.rule(origin).await else {
            let text = "This CORS request is not allowed. No rule of the bucket has this origin, \
                        method and headers.";
            return Err(S3Error::forbidden("AccessForbidden", text));
        };
        let mut response = Response::default();
        told(&mut response, origin, &rule);
        set(
            &mut response,
            ACCESS_CONTROL_ALLOW_METHODS,
            &rule.allowed.methods.join(", "),
        );
        if !origin.headers.is_empty() {
            let headers = origin.headers.join(", ");
            set(&mut response, ACCESS_CONTROL_ALLOW_HEADERS, &headers);
        }
        if let Some(seconds) = rule.max_age_seconds {
            set(&mut response, ACCESS_CONTROL_MAX_AGE, &seconds.to_string());
        }
        Ok(response)
    }

    /// Tells the browser that its page may read an answer.
    pub(super) async fn allow(&self, origin: &Origin, response: &mut Response) {
        // Which headers were sent has been asked before.
        let origin = Origin {
            headers: Vec::new(),
            bucket: origin.bucket.clone(),
            origin: origin.origin.clone(),
            method: origin.method.clone(),
            preflight: false,
        };
        if let Some(rule) = self.rule(&origin).await {
            told(response, &origin, &rule);
            if !rule.expose_headers.is_empty() {
                let headers = rule.expose_headers.join(", ");
                set(response, ACCESS_CONTROL_EXPOSE_HEADERS, &headers);
            }
        }
    }
}

fn told(response: &mut Response, origin: &Origin, rule: &CorsRule) {
    let allowed = if rule.is_for_all() {
        "*"
    } else {
        &origin.origin
    };
    set(response, ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    let varies = HeaderValue::from_static(
        "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
    );
    response.headers_mut().append(VARY, varies);
}

/// What is no header's value is left out: a rule with it allows nothing.
fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
