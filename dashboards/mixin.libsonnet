// The dashboards for people who deploy monitoring mixins. The JSON is generated; this only imports it.
{
  grafanaDashboards+:: {
    'otel-ml-overview.json': import 'overview.json',
    'otel-ml-model.json': import 'model.json',
  },
}
