//! A router, the rules of who may use it, and its documentation, built together. Invariant: there is
//! no way to add a route without saying whom it lets in, nor one that clients use without saying what
//! it does; what has no route wants a key like the rest.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use http::Method;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{OpenApi, RefOr, Schema};
use utoipa_axum::router::UtoipaMethodRouter;

use super::auth::Access;
use super::openapi;

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
        self.add(Rule { method: Method::GET, path, access }, on(MethodFilter::GET, handler))
    }

    /// `POST`.
    pub fn post<H, T>(self, access: Access, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.add(Rule { method: Method::POST, path, access }, on(MethodFilter::POST, handler))
    }

    fn add(mut self, rule: Rule, handler: MethodRouter<S>) -> Self {
        self.router = self.router.route(rule.path, handler);
        self.rules.push(rule);
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

/// Routes that clients use, each with the documentation that stands beside its handler.
pub struct Documented<S> {
    routes: Routes<S>,
    /// In the order of the rules.
    operations: Vec<Operation>,
    schemas: Vec<(String, RefOr<Schema>)>,
}

impl<S: Clone + Send + Sync + 'static> Documented<S> {
    /// None yet.
    pub fn none() -> Self {
        Self { routes: Routes::none(), operations: Vec::new(), schemas: Vec::new() }
    }

    /// `GET` (and with it `HEAD`) of what [`utoipa_axum::routes!`] makes of a handler.
    pub fn get(self, access: Access, path: &'static str, told: UtoipaMethodRouter<S>) -> Self {
        self.add(Rule { method: Method::GET, path, access }, told, |item| item.get)
    }

    /// `POST`, in the same way.
    pub fn post(self, access: Access, path: &'static str, told: UtoipaMethodRouter<S>) -> Self {
        self.add(Rule { method: Method::POST, path, access }, told, |item| item.post)
    }

    /// `PUT`, in the same way.
    pub fn put(self, access: Access, path: &'static str, told: UtoipaMethodRouter<S>) -> Self {
        self.add(Rule { method: Method::PUT, path, access }, told, |item| item.put)
    }

    /// `DELETE`, in the same way.
    pub fn delete(self, access: Access, path: &'static str, told: UtoipaMethodRouter<S>) -> Self {
        self.add(Rule { method: Method::DELETE, path, access }, told, |item| item.delete)
    }

    fn add(
        mut self,
        rule: Rule,
        (schemas, mut paths, handler): UtoipaMethodRouter<S>,
        operation: impl FnOnce(PathItem) -> Option<Operation>,
    ) -> Self {
        let operation = paths.paths.remove(rule.path).and_then(operation);
        let operation = operation.expect("a handler is documented under its own method and path");
        self.operations.push(operation);
        self.schemas.extend(schemas);
        self.routes = self.routes.add(rule, handler);
        self
    }

    /// The routes, and what is said of them.
    pub fn split(self) -> (Routes<S>, OpenApi) {
        let Self { routes, operations, schemas } = self;
        let document = openapi::assemble(routes.rules.iter().zip(operations), schemas);
        (routes, document)
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
