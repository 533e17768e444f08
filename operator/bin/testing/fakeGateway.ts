/** A gateway played by the test: nothing but its metrics, as text, made of what the test says came and is there. */
import http from "node:http";
import { demandMetrics } from "../../../runtime/wire/demandMetrics.ts";
import { gatewayPort } from "../../ranks/names.ts";

const bounds = [64, 128, 256, 512, 1_024, 2_048];

export class FakeGateway {
  /** Prompts since its process began, all of `promptTokens`. */
  arrived = 0;
  promptTokens = 500;
  outputTokens = 50;
  waiting = 0;
  decoding = 0;
  waitingForRanks = 0;
  /** Replaces what a line would say, by the beginning of the line. */
  readonly lies = new Map<string, string>();
  /** While true, it answers nothing at all. */
  silent = false;
  address = "";
  readonly #server: http.Server;
  #timer: NodeJS.Timeout | undefined;

  constructor() {
    this.#server = http.createServer((request, response) => {
      if (this.silent) return;
      response.writeHead(request.url === "/metrics" ? 200 : 404).end(this.text());
    });
  }

  async start(address: string): Promise<void> {
    this.address = address;
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(gatewayPort, address, resolve);
    });
  }

  /** From now on so many prompts arrive each second. */
  load(perSecond: number): void {
    clearInterval(this.#timer);
    if (perSecond > 0) this.#timer = setInterval(() => (this.arrived += perSecond / 10), 100);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  text(): string {
    const { arrived, promptTokens, outputTokens } = this;
    const own = 'class="all"';
    const stage = (name: string, value: number): string =>
      `${demandMetrics.prompts}{${own},stage="${name}"} ${value}`;
    const lines = [
      `# HELP ${demandMetrics.promptTokens} Tokens of prompts`,
      `# TYPE ${demandMetrics.promptTokens} histogram`,
      ...bounds.map((le) => {
        const count = promptTokens <= le ? arrived : 0;
        return `${demandMetrics.promptTokens}_bucket{le="${le}",${own}} ${count}`;
      }),
      `${demandMetrics.promptTokens}_bucket{le="+Inf",${own}} ${arrived}`,
      `${demandMetrics.promptTokens}_sum{${own}} ${arrived * promptTokens}`,
      `${demandMetrics.promptTokens}_count{${own}} ${arrived}`,
      `${demandMetrics.promptTokensSquared}{${own}} ${arrived * promptTokens ** 2}`,
      stage("waiting", this.waiting),
      stage("prefilling", 0),
      stage("decoding", this.decoding),
      `${demandMetrics.outputTokens}_sum ${arrived * outputTokens}`,
      `${demandMetrics.outputTokens}_count ${arrived}`,
      `${demandMetrics.interTokenLatency}_bucket{le="0.05"} ${arrived}`,
      `${demandMetrics.interTokenLatency}_bucket{le="+Inf"} ${arrived}`,
      `${demandMetrics.waitingForRanks} ${this.waitingForRanks}`,
    ];
    const told = lines.map((line) => {
      const lie = [...this.lies].find(([begin]) => line.startsWith(begin));
      return lie === undefined ? line : `${line.slice(0, line.lastIndexOf(" "))} ${lie[1]}`;
    });
    return `${told.join("\n")}\n`;
  }
}
