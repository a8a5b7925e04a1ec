import { useEffect, useRef } from "preact/hooks";

/** Focus goes in, Escape and Tab stay in, and focus comes back. */
export function useDialog(close: () => void) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    box.current?.focus();
    const keys = (event: KeyboardEvent) => {
      if (event.key === "Escape") close();
      if (event.key !== "Tab" || !box.current) return;
      const inside = [...box.current.querySelectorAll<HTMLElement>("button, a, input, textarea, select")];
      const at = inside.indexOf(document.activeElement as HTMLElement);
      const next = inside[(at + (event.shiftKey ? -1 : 1) + inside.length) % inside.length];
      next?.focus();
      event.preventDefault();
    };
    document.addEventListener("keydown", keys);
    return () => {
      document.removeEventListener("keydown", keys);
      before?.focus();
    };
  }, []);
  return box;
}
