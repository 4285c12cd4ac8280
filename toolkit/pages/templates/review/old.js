// Runs only where a browser knows no modules: says so, in words that every browser can show.
document.getElementById("starting").textContent =
  "This browser is too old for this page. It needs Firefox 115, Chrome or Edge 114, Safari 16.4, or newer.";
