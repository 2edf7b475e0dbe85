// Enhances pages that work without it: copy buttons, checkboxes of whole groups,
// times in the reader's zone, confirmations in a dialog, and what htmx needs to
// poll politely. No page depends on anything here.
(function () {
  "use strict";

  const lang = document.documentElement.lang || "en";
  let said = "";
  const say = (text) => {
    const status = document.getElementById("status");
    if (!status || !text || text === said) return; // a poll that says nothing new is silent
    said = text;
    status.textContent = "";
    setTimeout(() => { status.textContent = text; }, 50);
  };

  // A page that answered a form must not be sent again by a reload. Where the
  // answer belongs to a page of its own, the address becomes that one's.
  const place = document.querySelector("[data-place]");
  if (place) history.replaceState(null, "", place.dataset.place || location.href);

  // Copy buttons are hidden until they can work.
  const copies = (root) => {
    if (!navigator.clipboard) return;
    root.querySelectorAll("[data-copy][hidden]").forEach((b) => { b.hidden = false; });
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    if (!source) return;
    navigator.clipboard.writeText(source.textContent).then(() => {
      const label = button.querySelector("[data-label]") || button;
      const before = label.textContent;
      label.textContent = button.dataset.done;
      said = "";
      say(button.dataset.done);
      setTimeout(() => { label.textContent = before; }, 2000);
    }, () => {
      getSelection().selectAllChildren(source);
    });
  });

  // A group's checkbox stands for all in it, and for what is added to it later:
  // it is never checked but by the reader himself.
  const group = (box) => {
    const all = box.querySelector("[data-all]");
    const each = [...box.querySelectorAll("[data-each]")];
    if (!all || !each.length) return;
    const on = each.filter((e) => e.checked).length;
    all.checked = all.checked && on === each.length;
    all.indeterminate = on > 0 && !all.checked;
  };
  const groups = (root) => root.querySelectorAll(".group").forEach((box) => {
    const all = box.querySelector("[data-all]");
    if (all && all.checked) box.querySelectorAll("[data-each]").forEach((e) => { e.checked = true; });
    group(box);
  });
  document.addEventListener("change", (event) => {
    const box = event.target.closest(".group");
    if (!box) return;
    if (event.target.matches("[data-all]")) {
      box.querySelectorAll("[data-each]").forEach((e) => { e.checked = event.target.checked; });
    }
    group(box);
  });

  // Times are written in UTC; the reader's own zone is one hover away, and shown
  // where the page asks for it.
  const times = (root) => root.querySelectorAll("time[datetime]").forEach((t) => {
    const at = new Date(t.dateTime);
    if (isNaN(at) || t.dataset.done) return;
    t.dataset.done = "1";
    let text;
    try {
      text = at.toLocaleString(lang, { dateStyle: "medium", timeStyle: "long" });
    } catch (e) {
      return;
    }
    t.title = text;
  });

  // Menus close when the reader goes elsewhere.
  const closeMenus = (except) => document.querySelectorAll(".menu[open]").forEach((m) => {
    if (m !== except) m.open = false;
  });
  document.addEventListener("click", (event) => closeMenus(event.target.closest(".menu")));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const menu = event.target.closest && event.target.closest(".menu[open]");
    if (!menu) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });

  // A link to a confirmation opens it in a dialog over the page.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-dialog]");
    if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey || !window.HTMLDialogElement) return;
    event.preventDefault();
    fetch(link.href, { credentials: "same-origin" }).then((response) => {
      if (!response.ok) throw new Error(response.status);
      return response.text();
    }).then((text) => {
      const page = new DOMParser().parseFromString(text, "text/html");
      const content = page.querySelector("[data-dialog-content]");
      if (!content) throw new Error("no content");
      content.querySelectorAll("form[action]").forEach((f) => f.setAttribute("action", new URL(f.getAttribute("action"), link.href).href));
      content.querySelectorAll("a[href]").forEach((a) => a.setAttribute("href", new URL(a.getAttribute("href"), link.href).href));
      const dialog = document.createElement("dialog");
      const title = content.querySelector("h1");
      if (title) {
        const heading = document.createElement("h2");
        heading.id = "dialog-title";
        heading.textContent = title.textContent;
        title.replaceWith(heading);
        dialog.setAttribute("aria-labelledby", heading.id);
      }
      dialog.append(document.importNode(content, true));
      dialog.addEventListener("click", (e) => {
        if (e.target === dialog || e.target.closest("[data-cancel]")) {
          e.preventDefault();
          dialog.close();
        }
      });
      dialog.addEventListener("close", () => { dialog.remove(); link.focus(); });
      closeMenus();
      document.body.append(dialog);
      dialog.showModal();
    }).catch(() => { location.href = link.href; });
  });

  // A form that changes something is sent once, however often its button is
  // pressed: the second answer would replace the first, which may show a secret.
  // Disabled only now, the button that was pressed is sent along.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || form.method !== "post") return;
    setTimeout(() => form.querySelectorAll("[type=submit]").forEach((b) => { b.disabled = true; }));
  });
  addEventListener("pageshow", () => { // back from the next page, it may be sent again
    document.querySelectorAll("form[method=post] [type=submit]").forEach((b) => { b.disabled = false; });
  });

  // What is polled rests while nobody looks, and while somebody fills in a form in
  // it, which would be lost; it stays as the reader left it.
  const busy = (root) => root.contains(document.activeElement) && document.activeElement.matches("input, select, textarea");
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.target.hasAttribute("data-poll") && (document.hidden || busy(event.target))) event.preventDefault();
  });
  // A poll that fails is repeated soon. Of what the reader has begun, the error is
  // shown in place of the page, as it is without htmx.
  document.addEventListener("htmx:responseError", (event) => {
    if (event.target.hasAttribute("data-poll") || event.detail.xhr.getResponseHeader("HX-Refresh")) return;
    const page = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html");
    const main = page.querySelector("main"), here = document.querySelector("main");
    if (!main || !here) return location.reload();
    here.replaceChildren(...main.childNodes);
    enhance(here);
    here.focus();
    const title = here.querySelector("h1");
    say(title && title.textContent);
  });
  document.addEventListener("htmx:sendError", (event) => {
    if (!event.target.hasAttribute("data-poll")) location.reload();
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    // Mistakes in a form come with 422 and are shown like any other answer.
    if (event.detail.xhr.status === 422) {
      event.detail.shouldSwap = true;
      event.detail.isError = false;
    }
    const target = event.detail.target;
    open = new Map([...target.querySelectorAll("details[id]")].map((d) => [d.id, d.open]));
  });
  let open = new Map();
  document.addEventListener("htmx:afterSwap", (event) => {
    const target = document.getElementById(event.detail.target.id) || event.detail.target;
    target.querySelectorAll("details[id]").forEach((d) => {
      if (open.has(d.id)) d.open = open.get(d.id);
    });
    open = new Map();
    enhance(target);
    const focus = target.querySelector("[data-focus]");
    if (focus) focus.focus();
    say(target.dataset.say || (focus && focus.textContent));
  });

  const enhance = (root) => {
    copies(root);
    groups(root);
    times(root);
  };
  enhance(document);

  const focus = document.querySelector("[data-focus]");
  if (focus) focus.focus();
})();
