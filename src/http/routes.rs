//! A router and the rules of who may use it, built together. Invariant: there is no way to add a
//! route without saying whom it lets in, and what has no route wants a key like the rest.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, on};
use http::Method;

use super::auth::Access;

/// Whom one method of one path lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `GET` stands for `HEAD` as well.
    pub method: Method,
    /// As the router knows it, with `{name}` for what varies.
    pub path: &'static str,
    /// Whom it lets in.
    pub access: Access,
}

/// Routes on their way to a router.
pub struct Routes<S> {
    router: Router<S>,
    rules: Vec<Rule>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// None yet.
    pub fn none() -> Self {
        Self { router: Router::new(), rules: Vec::new() }
    }

    /// `GET` (and with it `HEAD`).
    pub fn get<H, T>(self, access: Access, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.on(Method::GET, MethodFilter::GET, access, path, handler)
    }

    /// `POST`.
    pub fn post<H, T>(self, access: Access, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.on(Method::POST, MethodFilter::POST, access, path, handler)
    }

    fn on<H, T>(
        mut self,
        method: Method,
        filter: MethodFilter,
        access: Access,
        path: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.rules.push(Rule { method, path, access });
        self.router = self.router.route(path, on(filter, handler));
        self
    }

    /// The router, and the rules that its gate goes by.
    pub fn split(self) -> (Router<S>, Rules) {
        let mut by_path: HashMap<_, Vec<_>> = HashMap::new();
        for rule in &self.rules {
            by_path.entry(rule.path).or_default().push((rule.method.clone(), rule.access));
        }
        (self.router, Rules(Arc::new(by_path)))
    }

    /// The rules as a list.
    pub fn rules(self) -> Vec<Rule> {
        self.rules
    }
}

/// Who may do what. Clones share it.
#[derive(Clone)]
pub struct Rules(Arc<HashMap<&'static str, Vec<(Method, Access)>>>);

impl Rules {
    /// Every path that has a route.
    pub fn paths(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }

    /// Whom `method` of the matched `path` lets in. Where there is no such route, who asks must at
    /// least have a key to be told so; on a path that is public throughout, nobody must.
    pub fn access(&self, method: &Method, path: Option<&str>) -> Access {
        let Some(methods) = path.and_then(|path| self.0.get(path)) else { return Access::Key };
        let wanted = if method == Method::HEAD { &Method::GET } else { method };
        let found = methods.iter().find(|(method, _)| method == wanted);
        let public = || methods.iter().all(|(_, access)| *access == Access::Public);
        match found {
            Some((_, access)) => *access,
            None if public() => Access::Public,
            None => Access::Key,
        }
    }
}
