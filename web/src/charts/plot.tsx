/** A plot over time, drawn by uPlot once it is loaded; the same figures as a table for everybody. */
import { useEffect, useRef } from "preact/hooks";
import { formatTime } from "../amounts.ts";

export interface Series {
  readonly name: string;
  readonly points: readonly { readonly at: number; readonly value: number }[];
  readonly bars?: boolean;
}

const DAY_S = 86_400;
const COLOURS = ["--accent", "--good", "--warning"];

export function Plot({ label, series }: { readonly label: string; readonly series: readonly Series[] }) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = box.current;
    if (!element || series.every((one) => one.points.length === 0)) return undefined;
    let chart: { destroy: () => void; setSize: (size: { width: number; height: number }) => void } | null = null;
    let wanted = true;
    const observer = new ResizeObserver(() => chart?.setSize(sizeOf(element)));
    void import("uplot").then(({ default: UPlot }) => {
      if (!wanted) return;
      const style = getComputedStyle(element);
      const colour = (name: string): string => style.getPropertyValue(name).trim();
      const times = [...new Set(series.flatMap((one) => one.points.map((point) => point.at)))].sort((a, b) => a - b);
      // Of one point the library makes years; a bar needs room on both sides.
      const [first, last] = [times[0] ?? 0, times.at(-1) ?? 0];
      const room = first === last ? DAY_S : series.some((one) => one.bars) ? DAY_S / 2 : 0;
      const columns = series.map((one) => {
        const byTime = new Map(one.points.map((point) => [point.at, point.value]));
        return times.map((at) => byTime.get(at) ?? null);
      });
      const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
      chart = new UPlot(
        {
          ...sizeOf(element),
          legend: { show: false },
          cursor: { show: false },
          axes: [axis, { ...axis, size: 90, values: (_, ticks) => ticks.map(writeTick) }],
          scales: {
            x: { range: () => [first - room, last + room] },
            // A bar's length is its figure, so bars begin at zero.
            ...(series.some((one) => one.bars) ? { y: { range: (_: unknown, __: number | null, most: number | null): [number, number] => [0, most ? most * 1.1 : 1] } } : {}),
          },
          series: [
            {},
            ...series.map((one, at) => ({
              stroke: colour(COLOURS[at % COLOURS.length] ?? "--accent"),
              width: 2,
              points: { show: !one.bars && times.length < 40 },
              ...(one.bars && UPlot.paths.bars ? { paths: UPlot.paths.bars({ size: [0.7, 40] }), fill: colour(COLOURS[at] ?? "--accent") } : {}),
            })),
          ],
        },
        [times, ...columns],
        element,
      );
      observer.observe(element);
    }, () => {
      // Without the library, or where it does not know the browser's language, the list below says it all.
    });
    return () => {
      wanted = false;
      observer.disconnect();
      chart?.destroy();
    };
  }, [series.map((one) => `${one.points.length}:${one.points.at(-1)?.at}:${one.points.at(-1)?.value}`).join()]);
  return (
    <figure class="chart">
      <div class="plot" ref={box} aria-hidden="true" />
      <details>
        <summary>{label}</summary>
        <ul>
          {series.flatMap((one) =>
            one.points.slice(-60).map((point) => (
              <li key={`${one.name} ${point.at}`}>
                {formatTime(point.at)}: {point.value}
              </li>
            )),
          )}
        </ul>
      </details>
    </figure>
  );
}

/** Returns a tick in plain digits with thousands marked, never as 2e-7. */
function writeTick(value: number): string {
  return value.toLocaleString("en-US", { maximumFractionDigits: 9 });
}

function sizeOf(element: HTMLElement): { width: number; height: number } {
  return { width: element.clientWidth, height: element.clientHeight };
}
