//! OpenMetrics text made into Prometheus' older text. Invariant: the samples stay as they are; only what
//! the older format does not know, or names otherwise, is changed.

/// A counter's family is named like its samples there, and units and the end have no line.
pub fn plain(open_metrics: &str) -> String {
    let counters: Vec<&str> = open_metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut out = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        let family = ["# HELP ", "# TYPE "].iter().find_map(|start| line.strip_prefix(start));
        let name = family.and_then(|rest| rest.split(' ').next());
        match name.filter(|name| counters.contains(name)) {
            Some(name) => out += &line.replacen(name, &format!("{name}_total"), 1),
            None => out += line,
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn counters_are_named_like_their_samples() {
        let text = "# HELP a_seconds Of a.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n\
                    a_seconds_total 1\n# HELP b Of b.\n# TYPE b gauge\nb 2\n# EOF\n";
        assert_eq!(
            plain(text),
            "# HELP a_seconds_total Of a.\n# TYPE a_seconds_total counter\na_seconds_total 1\n\
             # HELP b Of b.\n# TYPE b gauge\nb 2\n"
        );
    }
}
