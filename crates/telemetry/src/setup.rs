//! One call at the start of a process, one at its end.

use std::{env, io::IsTerminal, str::FromStr};

use opentelemetry::{global, trace::TracerProvider as _};
use opentelemetry_otlp::{MetricExporter, SpanExporter};
use opentelemetry_sdk::{
    Resource,
    metrics::SdkMeterProvider,
    propagation::TraceContextPropagator,
    trace::{SdkTracerProvider, TracerProviderBuilder},
};
use tracing::Metadata;
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::collector::Collector;

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("write \"text\" or \"json\""),
        }
    }
}

/// What becomes of log lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// How they look.
    pub format: LogFormat,
    /// Which are written, in the syntax of `RUST_LOG` (for example `info`), unless `RUST_LOG` is set.
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".to_owned() }
    }
}

/// What a process wants to tell, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `service.name`, unless `OTEL_SERVICE_NAME` says otherwise.
    pub service_name: &'static str,
    /// Its log.
    pub log: LogConfig,
}

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter does not parse.
    #[error("the log filter {0:?} is not understood; try \"info\" or \"countersign=debug\"")]
    Filter(String),
    /// An exporter could not be built.
    #[error("the OTLP exporter cannot be set up: {0}; check the OTEL_EXPORTER_OTLP_* variables")]
    Exporter(String),
    /// Another subscriber is already there.
    #[error("logging was already set up in this process")]
    AlreadySet,
}

/// Telemetry that runs. Shut it down at the end of the process, so that nothing buffered is lost.
#[derive(Debug)]
#[must_use = "call shutdown() at the end, or the last spans are lost"]
pub struct Telemetry {
    tracer: Option<SdkTracerProvider>,
    meter: Option<SdkMeterProvider>,
}

impl Telemetry {
    /// Sends what is buffered, and stops. Blocks for at most the exporter's time-out.
    pub fn shutdown(self) {
        let tracer = self.tracer.map(|provider| provider.shutdown());
        let meter = self.meter.map(|provider| provider.shutdown());
        for error in [tracer, meter].into_iter().flatten().filter_map(Result::err) {
            tracing::warn!(%error, "telemetry was not sent completely");
        }
    }
}

/// Sets up logs, traces and metrics for this process. Spans also go to `collector`, when there is one.
///
/// With a gRPC exporter configured, call it inside a tokio runtime.
///
/// # Errors
/// When the log filter does not parse, an exporter cannot be built, or logging was set up before.
pub fn init(settings: &Settings, collector: Option<Collector>) -> Result<Telemetry, TelemetryError> {
    let tracer = tracer_provider(settings, collector)?;
    let meter = meter_provider(settings)?;
    let spans = tracer.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("countersign"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(is_our_span))
    });
    tracing_subscriber::registry()
        .with(spans)
        .with(log_layer(settings)?)
        .try_init()
        .map_err(|_| TelemetryError::AlreadySet)?;
    global::set_text_map_propagator(TraceContextPropagator::new());
    if let Some(provider) = &meter {
        global::set_meter_provider(provider.clone());
    }
    Ok(Telemetry { tracer, meter })
}

fn is_our_span(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target().starts_with("countersign")
}

/// Logs take events only: were spans enabled for them, every operation would pay for spans that
/// nobody collects.
fn log_layer<S>(settings: &Settings) -> Result<Box<dyn Layer<S> + Send + Sync>, TelemetryError>
where
    S: tracing::Subscriber
        + for<'span> tracing_subscriber::registry::LookupSpan<'span>
        + Send
        + Sync
        + 'static,
{
    let filter = env::var(EnvFilter::DEFAULT_ENV).unwrap_or_else(|_| settings.log.filter.clone());
    let filter = EnvFilter::try_new(&filter).map_err(|_| TelemetryError::Filter(filter))?;
    let filter = filter.and(filter_fn(|metadata| metadata.is_event()));
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let ansi = std::io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none();
    Ok(match settings.log.format {
        LogFormat::Text => layer.with_ansi(ansi).with_target(false).with_filter(filter).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_filter(filter).boxed(),
    })
}

/// Whether the standard variables ask for this signal to be exported. Without an endpoint nothing is:
/// a security product does not try `localhost:4317` unasked.
fn exports(signal: &str) -> bool {
    let var = |name: String| env::var(name).ok().filter(|value| !value.is_empty());
    let disabled = var("OTEL_SDK_DISABLED".into()).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let none = var(format!("OTEL_{signal}_EXPORTER")).is_some_and(|value| value == "none");
    let endpoint = var(format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"))
        .or_else(|| var("OTEL_EXPORTER_OTLP_ENDPOINT".into()));
    !disabled && !none && endpoint.is_some()
}

fn resource(settings: &Settings) -> Resource {
    let builder = Resource::builder();
    match env::var("OTEL_SERVICE_NAME") {
        Ok(_) => builder.build(),
        Err(_) => builder.with_service_name(settings.service_name).build(),
    }
}

fn tracer_provider(
    settings: &Settings,
    collector: Option<Collector>,
) -> Result<Option<SdkTracerProvider>, TelemetryError> {
    let export = exports("TRACES");
    if !export && collector.is_none() {
        return Ok(None);
    }
    let mut builder = SdkTracerProvider::builder().with_resource(resource(settings));
    if export {
        builder = with_otlp(builder)?;
    }
    if let Some(collector) = collector {
        builder = builder.with_simple_exporter(collector);
    }
    Ok(Some(builder.build()))
}

fn with_otlp(builder: TracerProviderBuilder) -> Result<TracerProviderBuilder, TelemetryError> {
    let exporter =
        SpanExporter::builder().build().map_err(|error| TelemetryError::Exporter(error.to_string()))?;
    Ok(builder.with_batch_exporter(exporter))
}

fn meter_provider(settings: &Settings) -> Result<Option<SdkMeterProvider>, TelemetryError> {
    if !exports("METRICS") {
        return Ok(None);
    }
    let exporter =
        MetricExporter::builder().build().map_err(|error| TelemetryError::Exporter(error.to_string()))?;
    let provider =
        SdkMeterProvider::builder().with_resource(resource(settings)).with_periodic_exporter(exporter);
    Ok(Some(provider.build()))
}
