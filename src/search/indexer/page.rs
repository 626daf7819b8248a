//! A page of records, as a source gives it: a connection of GraphQL, in Relay's form. Invariant: what is no page is an error, and
//! never an end.

use serde_json::Value;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The records, in order.
    pub records: Vec<Value>,
    /// Behind the last of them; none where there is none.
    pub end: Option<String>,
    /// Whether there are more.
    pub has_next: bool,
}

impl Page {
    /// The page at `connection` in the data of an answer, or what is wrong with it.
    pub fn read(mut data: Value, connection: &str) -> Result<Self, String> {
        for key in connection.split('.') {
            data = data
                .get_mut(key)
                .map(Value::take)
                .ok_or_else(|| format!("{connection} is not in it"))?;
        }
        let has_next = data["pageInfo"]["hasNextPage"].as_bool();
        let has_next = has_next.ok_or("pageInfo.hasNextPage is not in it")?;
        let Value::Array(edges) = data["edges"].take() else {
            return Err("edges are not in it".into());
        };
        let end = match edges.last() {
            None => None,
            Some(edge) => {
                let said =
                    edge["cursor"].as_str().or_else(|| data["pageInfo"]["endCursor"].as_str());
                Some(said.ok_or("its last edge has no cursor")?.to_string())
            }
        };
        if has_next && end.is_none() {
            return Err("it is empty, and says that there is more".into());
        }
        let records = edges.into_iter().map(|mut edge| edge["node"].take()).collect();
        Ok(Self { records, end, has_next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_page_has_all_that_it_takes_to_go_on() {
        let edges =
            json!([{ "cursor": "a", "node": { "id": 1 } }, { "cursor": "b", "node": { "id": 2 } }]);
        let data = json!({ "x": { "transactions": { "pageInfo": { "hasNextPage": true }, "edges": edges } } });
        let page = Page::read(data, "x.transactions").expect("a page");
        assert_eq!((page.records.len(), page.end.as_deref(), page.has_next), (2, Some("b"), true));
        let last = json!({ "t": { "pageInfo": { "hasNextPage": false }, "edges": [] } });
        let last = Page::read(last, "t").expect("the last");
        assert_eq!((last.records.len(), last.end, last.has_next), (0, None, false));
        for data in [
            json!({}),
            json!({ "t": null }),
            json!({ "t": { "edges": [] } }),
            json!({ "t": { "pageInfo": { "hasNextPage": false } } }),
            json!({ "t": { "pageInfo": { "hasNextPage": true }, "edges": [] } }),
            json!({ "t": { "pageInfo": { "hasNextPage": true }, "edges": [{ "node": {} }] } }),
        ] {
            assert!(Page::read(data.clone(), "t").is_err(), "{data}");
        }
    }
}
