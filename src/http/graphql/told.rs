//! What the documentation says of GraphQL: the shape of a request, and the answers.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use utoipa::openapi::{Content, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

/// What is asked. Other fields are passed on as well.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GraphqlRequest {
    #[schema(schema_with = query)]
    query: String,
    /// What stands for the variables of the query.
    #[schema(value_type = Option<Object>)]
    variables: Option<Value>,
    /// Which operation of the query is meant, where it has several.
    operation_name: Option<String>,
}

fn query() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("A GraphQL document: operations, and the fragments that they use."))
        .examples(["query Latest { transactions(first: 3) { edges { node { id } } } }"])
        .build()
}

/// What may be answered.
pub struct Answers;

impl IntoResponses for Answers {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let text = "The server's answer, as it came: `data`, or `errors`, or both; then the header \
                    `x-graphql-partial` is `true`. Any other status that the server gives comes down as \
                    it is as well.";
        let object = || {
            let schema = ObjectBuilder::new().schema_type(Type::Object);
            Content::new(Some(schema.build()))
        };
        let answer = ResponseBuilder::new()
            .description(text)
            .content("application/graphql-response+json", object())
            .content("application/json", object());
        let refused = [
            ("400", "What was asked is no request, or none that is passed on; it is said why."),
            (
                "403",
                "The query asks for the schema or for an operation, which the settings forbid.",
            ),
            ("404", "No GraphQL server is configured."),
            ("408", "The body came too slowly."),
            ("413", "The body is larger than the settings allow, 64 KiB if they say nothing."),
            (
                "502",
                "The server could not be reached, or its answer is none, too long, or a redirect.",
            ),
            (
                "503",
                "The server is busy or left alone for a while, there is no room, or this one leaves.",
            ),
            ("504", "The server did not answer in time."),
        ];
        let refused = refused.map(|(status, text)| (status.into(), Response::new(text).into()));
        let mut all = BTreeMap::from(refused);
        all.insert("200".into(), answer.build().into());
        all
    }
}
