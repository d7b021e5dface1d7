//! A past build as a trace of OpenTelemetry: a span for the build, and one below it for each task.
//!
//! Ids follow from the build's id, so that a build that is sent twice is one trace. What a task read is a link. The
//! exporter of OpenTelemetry encodes, as JSON; it is given a client that keeps what it should send, since sending is
//! the registry client's business.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use kiln_frontend::redact;
use kiln_ir::Digest;
use kiln_registry::PostRequest;
use opentelemetry::trace::{
    Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _, SpanLinks};

use super::past::{PastBuild, PastTask, TaskState};
use crate::{Engine, EngineError};

/// Where collectors listen by convention, below their address.
const PATH: &str = "/v1/traces";
/// Where the trace would go that is only encoded.
const NOWHERE: &str = "http://localhost:4318/v1/traces";

impl Engine {
    /// Sends a build's trace to a collector: `endpoint` is its address, with or without `/v1/traces`.
    ///
    /// # Errors
    /// When the collector cannot be reached, or does not take it.
    pub fn send_trace(&self, past: &PastBuild, endpoint: &str) -> Result<(), EngineError> {
        let base = endpoint.trim_end_matches('/');
        let url = if base.ends_with(PATH) { base.to_owned() } else { format!("{base}{PATH}") };
        let shown = format!("trace for {}", redact(&url));
        let Encoded { headers, body } = encode(past, &url)?;
        let request = PostRequest { url: &url, shown: &shown, headers, body };
        Ok(self.registry()?.post(request)?)
    }
}

/// A build's trace as the body of an OTLP request, in JSON.
///
/// # Errors
/// When the exporter cannot be set up: its variables in the environment may ask for what it cannot do.
pub fn otlp(past: &PastBuild) -> Result<Vec<u8>, EngineError> {
    Ok(encode(past, NOWHERE)?.body)
}

/// What the exporter would send.
#[derive(Debug, Clone, Default)]
struct Encoded {
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// A client that sends nothing.
#[derive(Debug, Clone, Default)]
struct Keeper(Arc<Mutex<Encoded>>);

#[async_trait]
impl HttpClient for Keeper {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let header = |(name, value): (&_, &_)| header(name, value);
        let headers = request.headers().iter().map(header).collect();
        let encoded = Encoded { headers, body: request.into_body().to_vec() };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = encoded;
        Ok(Response::new(Bytes::from_static(b"{}")))
    }
}

fn encode(past: &PastBuild, url: &str) -> Result<Encoded, EngineError> {
    let failed = |reason: String| EngineError::Trace { reason };
    let keeper = Keeper::default();
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpJson)
        .with_endpoint(url)
        .with_http_client(keeper.clone())
        .build()
        .map_err(|error| failed(error.to_string()))?;
    // One attribute, since their order is not kept: the version stands with the scope.
    exporter.set_resource(&Resource::builder_empty().with_service_name("kiln").build());
    futures_executor::block_on(exporter.export(spans(past)))
        .map_err(|error| failed(error.to_string()))?;
    let encoded = keeper.0.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(encoded.clone())
}

/// The build's span, then those of its tasks that started.
fn spans(past: &PastBuild) -> Vec<SpanData> {
    let ids = Ids::of(past);
    let scope = InstrumentationScope::builder("kiln").with_version(past.kiln.clone()).build();
    let whole = (Duration::ZERO, past.duration());
    let mut build = span(&ids, None, whole, &scope);
    build.name = format!("build {}", past.name).into();
    build.attributes = build_attributes(past);
    build.status = match past.end.as_ref().and_then(|end| end.error.as_ref()) {
        Some(error) => Status::error(error.message.clone()),
        None if past.end.is_some() => Status::Ok,
        None => Status::Unset,
    };
    let mut spans = vec![build];
    for (index, task) in past.tasks.iter().enumerate() {
        let Some(started) = task.started else { continue };
        let ended = task.ended.unwrap_or_else(|| past.duration()).max(started);
        let mut data = span(&ids, Some(index), (started, ended), &scope);
        data.name = task.name.clone().into();
        data.attributes = task_attributes(task);
        data.links = links(&ids, past, task);
        data.status = match (&task.error, task.state) {
            (Some(error), _) => Status::error(error.clone()),
            (None, TaskState::Cached | TaskState::Done) => Status::Ok,
            (None, _) => Status::Unset,
        };
        spans.push(data);
    }
    spans
}

/// The ids of one build's spans, and when it began.
struct Ids {
    build: String,
    trace: TraceId,
    began: SystemTime,
}

impl Ids {
    fn of(past: &PastBuild) -> Self {
        let digest = Digest::of(format!("kiln trace {}", past.id).as_bytes());
        let bytes = digest.as_bytes().first_chunk().copied().unwrap_or_default();
        let began = Duration::from_millis(u64::try_from(past.created_ms).unwrap_or(0));
        Self {
            build: past.id.clone(),
            trace: TraceId::from_bytes(bytes),
            began: UNIX_EPOCH + began,
        }
    }

    /// The span of a task, or of the build.
    fn context(&self, task: Option<usize>) -> SpanContext {
        let what = task.map_or_else(|| "build".to_owned(), |index| index.to_string());
        let digest = Digest::of(format!("kiln span {} {what}", self.build).as_bytes());
        let bytes = digest.as_bytes().first_chunk().copied().unwrap_or_default();
        let (id, state) = (SpanId::from_bytes(bytes), TraceState::default());
        SpanContext::new(self.trace, id, TraceFlags::SAMPLED, false, state)
    }
}

fn span(
    ids: &Ids,
    task: Option<usize>,
    (started, ended): (Duration, Duration),
    scope: &InstrumentationScope,
) -> SpanData {
    let parent = task.map(|_| ids.context(None).span_id());
    SpanData {
        span_context: ids.context(task),
        parent_span_id: parent.unwrap_or(SpanId::INVALID),
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: String::new().into(),
        start_time: ids.began + started,
        end_time: ids.began + ended,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: Default::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: scope.clone(),
    }
}

fn links(ids: &Ids, past: &PastBuild, task: &PastTask) -> SpanLinks {
    let started = |input: &&usize| past.tasks[**input].started.is_some();
    let link = |input: &usize| Link::with_context(ids.context(Some(*input)));
    let mut links = SpanLinks::default();
    links.links = task.inputs.iter().filter(started).map(link).collect();
    links
}

fn build_attributes(past: &PastBuild) -> Vec<KeyValue> {
    let asked = &past.asked;
    let (steps, completed, cached) = past.counts();
    let image = past.end.as_ref().and_then(|end| end.image.as_ref());
    let texts = [
        ("kiln.build.id", Some(past.id.clone())),
        ("kiln.build.context", Some(asked.context.clone())),
        ("kiln.build.dockerfile", Some(asked.dockerfile.clone())),
        ("kiln.build.target", asked.target.clone()),
        ("kiln.build.platforms", Some(asked.platforms.join(","))),
        ("kiln.build.status", past.end.as_ref().map(|end| end.status.clone())),
        ("kiln.build.image", image.map(|image| image.manifest.clone())),
    ];
    let counts = [
        ("kiln.build.steps", steps),
        ("kiln.build.steps.completed", completed),
        ("kiln.build.steps.cached", cached),
    ];
    let texts = texts.into_iter().filter_map(|(name, text)| Some(KeyValue::new(name, text?)));
    texts.chain(counts.map(|(name, count)| KeyValue::new(name, number(count as u64)))).collect()
}

fn task_attributes(task: &PastTask) -> Vec<KeyValue> {
    let origin = task.origin.as_ref();
    let record = task.record.as_ref();
    let place = origin.filter(|origin| origin.at > 0);
    let layers = record.map(|record| {
        let digests = record.layers.iter().map(|layer| layer.digest.to_string());
        digests.collect::<Vec<_>>().join(",")
    });
    let texts = [
        ("kiln.step.op", origin.map(|origin| origin.op.clone())),
        ("kiln.step.key", task.key.map(|key| key.to_string())),
        ("kiln.step.layers", layers),
        ("code.file.path", place.map(|origin| origin.file.clone())),
    ];
    let numbers = [
        ("code.line.number", place.map(|origin| origin.at as u64)),
        ("kiln.step.size", record.map(|record| record.size_bytes)),
        ("kiln.step.made_in_ms", record.map(|record| record.duration_ms)),
    ];
    let cached = KeyValue::new("kiln.step.cached", task.state == TaskState::Cached);
    let texts = texts.into_iter().filter_map(|(name, text)| Some(KeyValue::new(name, text?)));
    let numbers =
        numbers.into_iter().filter_map(|(name, value)| Some(KeyValue::new(name, number(value?))));
    texts.chain(numbers).chain(origin.map(|_| cached)).collect()
}

fn number(value: u64) -> Value {
    Value::I64(i64::try_from(value).unwrap_or(i64::MAX))
}

fn header(name: &impl ToString, value: &impl AsRef<[u8]>) -> (String, Vec<u8>) {
    (name.to_string(), value.as_ref().to_vec())
}
