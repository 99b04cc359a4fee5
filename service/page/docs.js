// Swagger UI for the service's own OpenAPI document; without its validator, which would send the address to another host.
import "./address.js";
import { readKey } from "./ask.js";

const ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  showExtensions: true,
  showCommonExtensions: true,
  validatorUrl: null,
  onComplete() {
    const key = readKey(); // that was entered on another page of this tab
    if (key) ui.preauthorizeApiKey("APIKeyHeader", key);
  },
});

// Swagger UI has a dark theme, and leaves it to the page when to use it.
const dark = matchMedia("(prefers-color-scheme: dark)");
const theme = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", theme);
theme();
