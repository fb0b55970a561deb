// The menu is longer than a window: show where in it the page is.
addEventListener("DOMContentLoaded", () => {
  const menu = document.querySelector(".sidebar-scroll");
  const entry = menu?.querySelector(".current-page");
  if (entry) menu.scrollTop += entry.getBoundingClientRect().top - menu.clientHeight / 2;
});
