import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * Kafka Streams with exactly_once_v2, at its cheapest: one processor that joins and counts by hand, no repartitioning,
 * since both topics have the same key and the same number of partitions. Counts go to a topic, by cell and partition.
 */
public final class Join {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final AtomicLong NEWEST = new AtomicLong();
    private static final String DONE = "";

    /** The state of a request: "P" and its place, "L" and its label, or DONE. */
    private static final class Joiner implements Processor<String, byte[], String, String> {
        private final Map<String, Long> changed = new HashMap<>();
        private ProcessorContext<String, String> context;
        private KeyValueStore<String, String> requests;
        private KeyValueStore<String, Long> cells;

        @Override
        public void init(ProcessorContext<String, String> context) {
            this.context = context;
            requests = context.getStateStore("requests");
            cells = context.getStateStore("cells");
            context.schedule(Duration.ofSeconds(1), PunctuationType.WALL_CLOCK_TIME, this::tell);
        }

        private void tell(long now) {
            int partition = context.taskId().partition();
            changed.forEach((cell, n) -> context.forward(new Record<>(cell + "#" + partition, n.toString(), now)));
            changed.clear();
        }

        private static String side(byte[] value) {
            try {
                JsonNode row = JSON.readTree(value);
                return row.has("model")
                    ? "P" + row.get("model").textValue() + "|" + row.get("event_time").textValue().substring(0, 16)
                        + "|" + row.get("prediction").textValue()
                    : "L" + row.get("label").textValue();
            } catch (java.io.IOException error) {
                throw new java.io.UncheckedIOException(error);
            }
        }

        @Override
        public void process(Record<String, byte[]> record) {
            NEWEST.set(System.currentTimeMillis());
            String mine = side(record.value());
            String held = requests.get(record.key());
            if (held == null) {
                requests.put(record.key(), mine);
            } else if (!held.equals(DONE) && held.charAt(0) != mine.charAt(0)) {
                String place = mine.charAt(0) == 'P' ? mine : held;
                String label = mine.charAt(0) == 'P' ? held : mine;
                String cell = place.substring(1) + "|" + label.substring(1);
                Long before = cells.get(cell);
                long after = before == null ? 1 : before + 1;
                requests.put(record.key(), DONE);
                cells.put(cell, after);
                changed.put(cell, after);
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, String> environment = System.getenv();
        String output = environment.get("CELLS_TOPIC");
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, environment.get("GROUP_ID"));
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, environment.get("KAFKA_BROKER"));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, environment.get("STATE_FOLDER"));
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");

        StreamsBuilder builder = new StreamsBuilder();
        builder.addStateStore(Stores.keyValueStoreBuilder(
            Stores.persistentKeyValueStore("requests"), Serdes.String(), Serdes.String()).withCachingEnabled());
        builder.addStateStore(Stores.keyValueStoreBuilder(
            Stores.persistentKeyValueStore("cells"), Serdes.String(), Serdes.Long()).withCachingEnabled());
        Consumed<String, byte[]> consumed = Consumed.with(Serdes.String(), Serdes.ByteArray());
        builder.stream(environment.get("PREDICTIONS_TOPIC"), consumed)
            .merge(builder.stream(environment.get("LABELS_TOPIC"), consumed))
            .process(Joiner::new, "requests", "cells")
            .to(output, Produced.with(Serdes.String(), Serdes.String()));

        try (KafkaStreams streams = new KafkaStreams(builder.build(settings), settings)) {
            streams.start();
            long idle = Long.parseLong(environment.get("IDLE_SECONDS")) * 1000;
            while (NEWEST.get() == 0 || System.currentTimeMillis() - NEWEST.get() < idle) {
                Thread.sleep(200);
                if (streams.state() == KafkaStreams.State.ERROR) {
                    System.exit(1);
                }
            }
        }
        Path path = Path.of(environment.get("OUTPUT"));
        Path part = Path.of(path + ".part");
        Files.writeString(part, "{\"topic\": \"" + output + "\"}");
        Files.move(part, path, StandardCopyOption.ATOMIC_MOVE);
    }
}
