//! Writes a request to the log, and to Analytics Engine.

use headwater_core::request_log::{Entry, LogRequests};
use worker::{AnalyticsEngineDataPointBuilder, Env, console_error, console_log};

use crate::settings::ANALYTICS_BINDING;

/// Writes an entry. A failure here fails no request.
pub(crate) fn write(entry: &Entry, log_requests: LogRequests, env: &Env) {
    if log_requests.wants(entry.status)
        && let Ok(line) = serde_json::to_string(entry)
    {
        console_log!("{line}");
    }
    if let Ok(dataset) = env.analytics_engine(ANALYTICS_BINDING) {
        let point = entry.point();
        let builder = AnalyticsEngineDataPointBuilder::new().indexes([point.index]);
        if let Err(error) = builder.blobs(point.blobs).doubles(point.doubles).write_to(&dataset) {
            console_error!("no data point was written: {error}");
        }
    }
}
