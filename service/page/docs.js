// Swagger UI for the service's own OpenAPI document; without its validator, which would send the address to another host.
SwaggerUIBundle({
  url: location.pathname.replace(/\/?$/, "/../openapi.json"), // the same for docs and docs/
  dom_id: "#swagger-ui",
  deepLinking: true,
  showExtensions: true,
  showCommonExtensions: true,
  validatorUrl: null,
});
